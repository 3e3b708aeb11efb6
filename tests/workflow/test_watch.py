"""`reluformer watch` on the real output of this Snakemake: a failed job with its log file and last line."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

NAMES = ("numbers/numbers.fi", "numbers/numbers.pt")
SAID = "reluformer: numbers.fi: not fetched; it has no URL; put the file numbers.fi into a folder"


def test_a_failed_job_is_seen_with_its_log_and_what_it_said(smoke_project):
    project = smoke_project()
    wanted = ("resources/numbers.fi", "resources/numbers.pt")
    ended = project.snakemake("--retries", "0", "--configfile", "smoke/smoke.yaml", "--", *wanted)
    assert ended.returncode == 1
    assert f"fetch numbers/numbers.fi failed; the end of logs/fetch/numbers/numbers.fi.log:\n  | {SAID}" in ended.stdout
    assert "start the same command again" in ended.stdout and "{" not in ended.stdout  # no settings

    command = [sys.executable, "-m", "reluformer.cli", "watch", "--once", "--config", "smoke/smoke.yaml"]
    seen = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    lines = [" ".join(line.split()) for line in seen.stdout.splitlines()]
    line = next(line for line in lines if line.startswith(f"fetch {NAMES[0]} logs/fetch/{NAMES[0]}.log "))
    assert SAID[:40] in line
