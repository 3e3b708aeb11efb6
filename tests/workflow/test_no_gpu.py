"""A machine without a GPU refuses to train the paper and states the cost; other runs are never refused."""

from __future__ import annotations

import os
import subprocess

import pytest

pytestmark = pytest.mark.slow

HUGE = {"updates": 10**10}
SIZES = {"train": 240, "valid": 30, "test": 30, "src_tokens": 12.0, "tgt_tokens": 12.0}


@pytest.fixture
def machine(smoke_project, edit, tmp_path, warm_python):
    """`machine(*arguments, ...)` runs snakemake, whose first step fails; returns its result and the steps begun."""
    bin = tmp_path / "bin"
    bin.mkdir()

    def program(name: str, text: str) -> None:
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)

    def start(
        *arguments: str, toy: bool = False, gpu: bool = False
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        project = smoke_project()
        smoke = project.folder / "smoke" / "smoke.yaml"
        edit(smoke, "toy", value=toy)
        edit(smoke, "training", value=HUGE)
        for dataset in ("numbers", "letters"):
            edit(smoke.with_name(f"{dataset}.yaml"), "sizes", value=SIZES)
        if gpu:
            program("nvidia-smi", "#!/bin/sh\necho 0\n")
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        environment["PATH"] = f"{bin}:{os.environ['PATH']}"
        command = ["timeout", "-k", "5", "600", warm_python, "-P", "-m", "snakemake", "--retries", "0"]
        ended = subprocess.run(
            [*command, "--configfile", "smoke/smoke.yaml", *arguments],
            cwd=project.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        logs = [log for log in (project.folder / "logs").rglob("*.log") if "reluformer: " in log.read_text()]
        return ended, sorted({log.relative_to(project.folder / "logs").parts[0] for log in logs})

    return start


SLURM = ("--profile", "workflow/profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")
TRAINED = "results/runs/numbers/transformer/seed1/summary.json"


def test_it_says_at_once_what_it_would_cost_and_offers_the_demo(machine):
    ended, began = machine("--cores", "2")
    assert ended.returncode == 1 and began == []
    assert "No GPU here: " in ended.stdout and "training(s) would take about" in ended.stdout
    assert "make demo" in ended.stdout and "--config force=true" in ended.stdout
    assert "Traceback" not in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        pytest.param(("--config", "force=true", "--", TRAINED), {}, id="force"),
        pytest.param(("--", TRAINED), {"toy": True}, id="the toy"),
        pytest.param(("--", TRAINED), {"gpu": True}, id="a GPU"),
        pytest.param(("--", "results/corpora/numbers/statistics.json"), {}, id="trains nothing"),
        pytest.param((*SLURM, "--", TRAINED), {}, id="a cluster"),
    ],
)
def test_runs_that_are_not_refused(machine, arguments, options):
    ended, began = machine("--cores", "2", *arguments, **options)
    assert "No GPU here" not in ended.stdout
    assert set(began) == {"fetch"}, ended.stdout  # which failed: no folder holds the archives


@pytest.mark.parametrize("arguments", [("-n",), ("--dag",), ("--touch",)])
def test_modes_without_jobs_are_not_refused(machine, arguments):
    ended, began = machine("--cores", "2", *arguments, "--", TRAINED)
    assert ended.returncode == 0 and "No GPU here" not in ended.stdout and began == [], ended.stdout
