"""A Snakemake's log as version 9 writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

LOG = """Assuming unrestricted shared filesystem usage.

Building DAG of jobs...
Provided cores: 2
Rules claiming more threads will be scaled down.
Job stats:
job        count
-------  -------
train          3
total          4

Execute 2 jobs...
[Tue Nov 24 20:32:13 2026]
localrule fetch:
    output: resources/numbers.fi
    log: logs/fetch/numbers.fi.log
    jobid: 7
    wildcards: archive=numbers.fi
    resources: tmpdir=/tmp
[Tue Nov 24 20:32:14 2026]
Finished jobid: 7 (Rule: fetch)
1 of 4 steps (25%) done
[Tue Nov 24 20:32:15 2026]
rule train:
    output: results/runs/numbers/transformer/seed1/summary.json
    log: logs/train/numbers/transformer/seed1.log
    jobid: 0
    wildcards: dataset=numbers, system=transformer, seed=1
    resources: tmpdir=/tmp, gpu=1, nodes=1
rule analyse:
    log: logs/analyse/numbers/rela/seed1.log
    jobid: 3
    wildcards: dataset=numbers, system=rela, seed=1
[Tue Nov 24 20:32:22 2026]
Error in rule train:
    message: None
    jobid: 0
    output: results/runs/numbers/transformer/seed1/summary.json
    log: logs/train/numbers/transformer/seed1.log (check log file(s) for error details)
    shell:
        reluformer train
"""
AGAIN = """Trying to restart job 0.
rule train:
    log: logs/train/numbers/transformer/seed1.log
    jobid: 0
    wildcards: dataset=numbers, system=transformer, seed=1
"""


@pytest.fixture
def said(tmp_path):
    """Writes the log of a Snakemake in `tmp_path`; `said(more)` goes on in it. Returns its path."""

    def write(more: str = "") -> Path:
        path = tmp_path / ".snakemake" / "log" / "2026-11-24T203213.1.snakemake.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            path.write_text(LOG)
        with path.open("a") as file:
            file.write(more)
        return path

    return write


@pytest.fixture
def again():
    """What Snakemake says when it starts the failed job of its log again."""
    return AGAIN
