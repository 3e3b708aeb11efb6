from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from reluformer.cli.watching.view import snapshot
from reluformer.config.experiment import Experiment

ROOT = Path(__file__).parents[4]


@pytest.fixture
def look(tmp_path):
    """What is seen of the folder `tmp_path`, as lines of words."""

    def look() -> list[str]:
        experiment = Experiment.from_files(ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
        console = Console(file=io.StringIO(), width=160)
        view, done = snapshot(experiment, tmp_path)
        assert not done
        console.print(view)
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]

    return look


def test_steps_trainings_jobs_and_failures(look, tmp_path, said):
    said()
    own = tmp_path / "checkpoints" / "demo-sentences" / "reluformer" / "seed1" / "f"
    own.mkdir(parents=True)
    (own / "run.json").write_text(json.dumps({"run": {"training": {"updates": 1500}}}))
    event = {"event": "train", "update": 300, "loss": 4.25, "tokens_per_second": 12345.6, "seconds": 30.0}
    (own / "log.jsonl").write_text(json.dumps(event) + "\n")
    log = tmp_path / "logs" / "train" / "numbers" / "transformer" / "seed1.log"
    log.parent.mkdir(parents=True)
    log.write_text("starting\nerror: out of memory at update 12\n")
    lines = look()
    training = next(line for line in lines if line.startswith("demo-sentences/reluformer/seed1"))
    assert training.endswith("300 of 1,500 4.250 12,346 2 min 0 s")
    assert any(line.startswith("analyse 0 of") and " 1 " in line for line in lines)
    assert "analyse numbers/rela/seed1 logs/analyse/numbers/rela/seed1.log" in lines
    failed = next(line for line in lines if line.startswith("train numbers/transformer/seed1"))
    assert failed.endswith("logs/train/numbers/transformer/seed1.log error: out of memory at update 12")


def test_nothing_yet(look):
    lines = look()
    assert any(line.startswith("train 0 of") for line in lines)
    assert not any(line.startswith(("training", "failed", "running")) for line in lines)


def test_a_look_takes_little_of_the_processor(look):
    look()
    begin = time.process_time()
    look()
    assert time.process_time() - begin < 2
