"""Snakemake's scheduler leaves the cores to the jobs."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SNAKEFILE = """
rule all:
    input:
        expand("{number}.txt", number=range(40)),


rule wait:
    output:
        "{number}.txt",
    shell:
        "sleep 0.5; touch {output}"
"""


def test_the_profile_evaluates_the_ready_jobs_more_rarely_than_snakemake_by_default(tmp_path):
    """Every job that has ended adds an evaluation to each timespan: 17 % of a core during the demo with one second."""
    profile = yaml.safe_load((ROOT / "workflow" / "profiles" / "default" / "config.yaml").read_text())
    runs = {}
    for name, option in {"default": "100/1s", "profile": profile["max-jobs-per-timespan"]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE)
        command = ["timeout", "-k", "5", "300", "snakemake", "--cores", "2", "--verbose"]
        runs[name] = subprocess.Popen(
            [*command, "--max-jobs-per-timespan", option],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    logs = {name: run.communicate()[0] for name, run in runs.items()}
    assert [run.returncode for run in runs.values()] == [0, 0], logs
    evaluations = {name: log.count("Resources before job selection") for name, log in logs.items()}
    assert evaluations["profile"] < 0.7 * evaluations["default"]
