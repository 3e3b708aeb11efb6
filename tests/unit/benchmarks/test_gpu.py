"""The parts of benchmarks/gpu.sh: their order, results and repetition. Their programs need a GPU and are replaced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.sh"
PARTS = ["tests", "attention", "training", "beam", "precision", "iwslt"]


@pytest.fixture
def gpu(tmp_path):
    """Runs gpu.sh with a fake Python that records its arguments and fails if they match FAILS."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase "$*" in ${{FAILS:-none}}) exit 3;; esac\n')
    python.chmod(0o755)
    for system in ("transformer", "reluformer"):
        (tmp_path / f"{system}+precision=bf16" / "seed1").mkdir(parents=True)
        (tmp_path / f"{system}+precision=bf16" / "seed1" / "scores.json").write_text("{}")

    def run(*parts: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "calls").write_text("")
        settings = {"PYTHON": str(python), "RESULTS": str(tmp_path / "results"), "CARD": "some-card", "ARCHIVES": "."}
        return subprocess.run(
            [SCRIPT, *parts],
            env=os.environ | {"RUNS": str(tmp_path)} | settings | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    run.calls = lambda: (tmp_path / "calls").read_text()
    run.state = lambda: dict(line.split(": ") for line in run("--list").stdout.splitlines())
    return run


def test_each_part_runs_once_and_what_failed_runs_again(gpu):
    first = gpu(FAILS="*benchmarks*beam*")
    assert first.returncode == 1 and "part beam: failed (3)" in first.stdout
    assert "tests/gpu" in gpu.calls() and "doctor" in gpu.calls() and "iwslt" not in first.stderr
    state = gpu.state()
    assert list(state) == PARTS and state["beam"] == "not done"
    assert state["attention"].endswith("-some-card-attention.txt")
    second = gpu()
    assert second.stdout.count(": done before") == 5 and "-m benchmarks --save beam" in gpu.calls()
    assert gpu.calls().count("-m benchmarks") == 1


def test_a_part_that_is_named_runs_again(gpu):
    gpu("attention")
    assert gpu("attention").returncode == 0 and "--save attention" in gpu.calls()


def test_no_part_begins_without_time(gpu):
    late = gpu(BUDGET="20")
    assert late.returncode == 1 and late.stdout.count("no time left") == len(PARTS) and gpu.calls() == ""


def test_mistakes_are_one_line(gpu):
    unknown = gpu("attenton")
    assert (unknown.returncode, unknown.stderr) == (2, f"gpu.sh: 'attenton': unknown part; valid: {' '.join(PARTS)}\n")
    alone = gpu("iwslt", ARCHIVES="/nowhere")
    assert alone.returncode == 1 and "set ARCHIVES to the folder with de-en.tgz" in alone.stdout
    assert gpu(CARD="", FAILS="*torch*").stderr == "gpu.sh: torch sees no GPU\n"
