"""`reluformer watch` on what this version of Snakemake really writes: a failure with its log and its last line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reluformer.watching.snakelog import last_line, newest_log, read_log

STEP = "#!/bin/sh\necho starting >&2\necho 'reluformer: numbers.fi: no route to host' >&2\nexit 2\n"


def test_a_failed_job_is_seen_with_its_log_and_what_it_said(smoke_project, tmp_path):
    project = smoke_project()
    step = tmp_path / "reluformer"
    step.write_text(STEP)
    step.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["timeout", "-k", "5", "60", "snakemake", "--cores", "2", "--retries", "0"]
    command += ["--configfile", "smoke/smoke.yaml", "--", "resources/numbers.fi", "resources/numbers.pt"]
    ended = subprocess.run(
        command, cwd=project.folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert ended.returncode == 1

    log = read_log(newest_log(project.folder))
    assert log.running == {}
    failed = {(job.rule, job.about, job.log): again for job, again in log.failed.values()}
    assert failed == {("fetch", name, f"logs/fetch/{name}.log"): False for name in ("numbers.fi", "numbers.pt")}
    assert last_line(project.folder / "logs/fetch/numbers.fi.log") == "reluformer: numbers.fi: no route to host"

    command = [sys.executable, "-m", "reluformer.cli", "watch", "--once", "--config", "smoke/smoke.yaml"]
    seen = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=60)
    lines = [" ".join(line.split()) for line in seen.stdout.splitlines()]
    assert "fetch numbers.fi logs/fetch/numbers.fi.log reluformer: numbers.fi: no route to host" in lines, seen
