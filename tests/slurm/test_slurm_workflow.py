"""The workflow on a real SLURM of two nodes, by workflow/profiles/slurm."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(300)]

RUN = "results/runs/numbers/transformer/seed1"
LONG = {"updates": 100_000, "checkpoint_every": 50, "log_every": 50, "validate_every": 100_000}


def checkpoints(workflow):
    return sorted(workflow.folder.glob("checkpoints/numbers/transformer/seed1/*/update-*"))


def summary(workflow, run=RUN):
    return json.loads((workflow.folder / run / "summary.json").read_text(encoding="utf-8"))


def train_log(workflow, run=RUN):
    path = workflow.folder / run.replace("results/runs", "checkpoints") / "train.log"
    return path.read_text(encoding="utf-8")


def test_the_whole_dag_ends_in_the_report(workflow, state_of):
    workflow.configure(only=["distance"])
    workflow.start()
    assert workflow.wait() == 0, workflow.said()[-6000:]
    assert (workflow.folder / "results" / "paper" / "report.html").stat().st_size > 0
    jobs = {rule: workflow.submitted(rule) for rule in ("prepare", "pack", "train", "translate", "analyse")}
    assert [len(ids) for ids in jobs.values()] == [1, 1, 2, 2, 2]
    assert not [rule for rule in ("fetch", "score", "study", "claims", "report") if workflow.submitted(rule)]
    gpus = sorted(re.search(r"gres/gpu=(\d)", state_of(job)["TRES"])[1] for job in jobs["train"])
    assert gpus == ["1", "2"]  # one run is of two processes
    assert list((workflow.folder / "logs" / "slurm").rglob("*.log"))
    assert (workflow.folder / "logs" / "train" / "letters@within-32" / "reluformer" / "seed1.log").is_file()


def test_a_cancelled_training_goes_on_when_it_is_run_again(workflow, scancel):
    workflow.configure(training=LONG)
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    workflow.until(lambda: checkpoints(workflow))
    [job] = workflow.submitted("train")
    scancel(job)
    assert workflow.wait() == 1
    saved = int(checkpoints(workflow)[-1].name.split("-")[1])
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    workflow.until(lambda: "going on from update" in train_log(workflow))
    resumed = int(re.search(r"going on from update (\d+)", train_log(workflow))[1])
    assert resumed >= saved
