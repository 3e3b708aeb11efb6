"""The workflow with workflow/profiles/slurm on a real SLURM cluster of two nodes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

RUN = "results/runs/numbers/transformer/seed1"
LONG = {"updates": 100_000, "checkpoint_every": 50, "log_every": 50, "validate_every": 100_000}


def checkpoints(workflow):
    return sorted(workflow.folder.glob("checkpoints/numbers/transformer/seed1/*/update-*"))


def summary(workflow, run=RUN):
    return json.loads((workflow.folder / run / "summary.json").read_text(encoding="utf-8"))


def train_log(workflow, run=RUN):
    path = workflow.folder / run.replace("results/runs", "checkpoints") / "train.log"
    return path.read_text(encoding="utf-8")


def resumed(workflow):
    """Returns the updates from which the training resumed."""
    return [int(update) for update in re.findall(r"resuming from update (\d+)", train_log(workflow))]


def worker(workflow):
    """Returns the training process."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            trains = {"reluformer.training.worker", str(workflow.folder / RUN)} <= set(words)
            if trains and "torch.distributed.run" not in words:
                return process
    raise AssertionError(f"nothing trains: {workflow.said()}")


def is_warned(process):
    """Returns whether SIGUSR1 is pending for a stopped process."""
    pending = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return any(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1 for mask in pending)


@pytest.fixture(scope="module")
def limited(new_workflow):
    """A training with a time limit of two minutes, suspended midway until SLURM warns it; other tests run meanwhile.

    SLURM checks time limits every 30 s and warns a little early, here 70 to 100 s after the start.
    """
    workflow = new_workflow()
    workflow.configure(training={**LONG, "updates": 1500})
    limit = ("--set-resources", "train:runtime=2", "train:slurm_extra='--open-mode=append --signal=USR1@20'")
    workflow.start(f"{RUN}/summary.json", options=(*limit, "--retries", "0"))
    workflow.until(lambda: checkpoints(workflow))
    process = worker(workflow)
    process.suspend()

    def answer():
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            while not is_warned(process):
                time.sleep(0.2)
            process.resume()

    threading.Thread(target=answer, daemon=True).start()
    return workflow


@pytest.fixture(scope="module")
def failing(new_workflow):
    """A training that cannot begin; other tests run meanwhile."""
    workflow = new_workflow(quick=True)
    workflow.configure(model={"vocabulary": 7})
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    return workflow


@pytest.mark.usefixtures("limited")
def test_the_dag_ends_in_the_report(new_workflow, state_of):
    """Three studies cover every rule that submits jobs; test_smoke.py builds all studies without a cluster."""
    workflow = new_workflow(bare=True, quick=True)
    segments = {"packing": ["within"], "lengths": [32], "systems": ["transformer", "reluformer"]}
    few = {
        "document-length": {**segments, "vary": {"recipe": ["scratch"]}},
        "distance": {**segments, "recipe": "scratch"},
        "speed-by-length": {
            "systems": ["transformer"],
            "measured": {"lengths": [8], "rounds": 1, "batch_tokens": 64, "seconds": 0.01},
        },
    }
    workflow.configure(studies=few, only=list(few))
    workflow.start()
    assert workflow.wait() == 0, workflow.said()[-6000:]
    assert (workflow.folder / "results" / "paper" / "report.html").stat().st_size > 0
    jobs = {rule: workflow.submitted(rule) for rule in ("prepare", "pack", "train", "translate", "analyse", "measure")}
    runs = sorted((workflow.folder / "results" / "runs").glob("*/*/seed*/summary.json"))
    assert f"{len(runs)} runs (seeds 1)" in workflow.said() and len(runs) == 2
    assert {rule: len(ids) for rule, ids in jobs.items()} == {
        "prepare": 1,
        "pack": 1,
        "train": len(runs),
        "translate": len(runs),
        "analyse": len(runs),
        "measure": 1,
    }
    assert not [rule for rule in ("fetch", "score", "corpus", "study", "claims", "report") if workflow.submitted(rule)]
    gpus = sorted(state_of(job)["TresPerJob"] for job in jobs["train"])
    processes = [json.loads(path.read_text(encoding="utf-8"))["processes"] for path in runs]
    assert gpus == sorted(f"gres:gpu:{count}" for count in processes) and max(processes) == 2
    assert list((workflow.folder / "logs" / "slurm").rglob("*.log"))
    assert (workflow.folder / "logs" / "train" / "letters@within-32" / "reluformer" / "seed1.log").is_file()


def test_a_training_resumes_after_its_node_failed_and_after_it_was_cancelled(workflow, state_of, lose_node, scancel):
    workflow.configure(training=LONG)
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    workflow.until(lambda: checkpoints(workflow))
    [job] = workflow.submitted("train")
    lose_node(state_of(job)["NodeList"])
    workflow.until(lambda: resumed(workflow))
    assert state_of(job)["Restarts"] == "1"
    scancel(job)
    assert workflow.wait() == 1
    saved = int(checkpoints(workflow)[-1].name.split("-")[1])
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    workflow.until(lambda: len(resumed(workflow)) == 2)
    assert resumed(workflow)[1] >= saved


@pytest.mark.usefixtures("failing")
def test_a_warned_training_on_two_nodes_is_requeued_and_finishes(workflow, state_of, warn_of_time_limit):
    workflow.configure(training={**LONG, "nodes": 2, "updates": 600})
    workflow.start(f"{RUN}/summary.json", options=("--retries", "0"))
    workflow.until(lambda: checkpoints(workflow))
    process = worker(workflow)
    process.suspend()
    [job] = workflow.submitted("train")
    warn_of_time_limit(job)
    workflow.until(lambda: is_warned(process))
    process.resume()
    assert workflow.wait() == 0, workflow.said()[-6000:]
    assert len(resumed(workflow)) == 1
    state = state_of(job)
    assert state["Restarts"] == "1" and state["NumNodes"] == "2" and state["TresPerJob"] == "gres:gpu:2"
    assert summary(workflow)["processes"] == 2 and summary(workflow)["updates"] == 600


def test_the_log_of_a_job_that_fails_is_shown(failing):
    assert failing.wait() == 1
    assert "error: model.vocabulary: 7: the corpus has " in failing.said()
    [job] = failing.submitted("train")
    log = next((failing.folder / "logs" / "slurm").rglob(f"{job}.log"))
    assert str(log) in failing.said() and "rule train" in log.read_text(encoding="utf-8")


def test_a_training_that_reaches_its_time_limit_is_requeued_and_finishes(limited, state_of):
    assert limited.wait() == 0, limited.said()[-6000:]
    [job] = limited.submitted("train")
    # A job that a busy machine warns while it starts has nothing to resume from; but no update is trained twice.
    assert 1 <= len(resumed(limited)) <= int(state_of(job)["Restarts"])
    logged = [int(update) for update in re.findall(r"train update (\d+)", train_log(limited))]
    assert logged == list(range(50, 1501, 50))
    assert summary(limited)["updates"] == 1500
