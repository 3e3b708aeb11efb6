from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from reluformer.cli.watching import (
    FAILED_SHOWN,
    explain_failures,
    last_lines,
    progress,
    read_trainings,
    snapshot,
    train_events,
)
from reluformer.config.experiment import Experiment
from reluformer.files import write_json

ROOT = Path(__file__).parents[3]
LOG = "logs/train/numbers/rela/seed{}.log"


@pytest.fixture
def training(tmp_path):
    """Writes a training's files with `updates` of 1000 done and the modification time `at`."""

    def write(name="numbers/transformer/seed1", updates=(100, 200), at=1000.0):
        own = tmp_path / name / "fingerprint"
        own.mkdir(parents=True)
        (own / "run.json").write_text(json.dumps({"run": {"training": {"updates": 1000}}, "data": {}}))
        events = [
            {
                "event": "train",
                "update": update,
                "loss": 9 - update / 100,
                "tokens_per_second": 50.0,
                "seconds": update / 10,
            }
            for update in updates
        ]
        events.insert(1, {"event": "valid", "update": 100, "loss": 1.0})
        text = "".join(json.dumps(event) + "\n" for event in events if updates)
        (own / "log.jsonl").write_text(text + '{"event": "train", "upd')
        (own.parent / "train.log").write_text("...")
        for path in (own / "run.json", own / "log.jsonl", own.parent / "train.log"):
            os.utime(path, (at, at))

    return write


def test_update_loss_speed_and_time_left(training, tmp_path):
    training()
    (state,) = read_trainings(tmp_path, now=1010.0)
    assert state.run == "numbers/transformer/seed1"
    assert (state.update, state.updates, state.loss, state.tokens_per_second) == (200, 1000, 7.0, 50.0)
    assert state.left == pytest.approx(80.0) and state.running and state.quiet == 10.0


def test_a_training_that_is_starting_and_one_that_stopped(training, tmp_path):
    training(updates=())
    training("numbers/rela/seed1", at=0.0)
    stopped, starting = read_trainings(tmp_path, now=1010.0)
    assert (starting.update, starting.loss, starting.left, starting.running) == (0, None, None, True)
    assert stopped.run == "numbers/rela/seed1" and not stopped.running


def test_incomplete_files_are_ignored(training, tmp_path):
    training()
    (tmp_path / "numbers/transformer/seed1/fingerprint/run.json").write_text('{"run"')
    assert read_trainings(tmp_path) == [] and read_trainings(tmp_path / "none") == []


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"event": "train", "update": i}) + "\n" for i in range(5000)))
    events = train_events(path)
    assert events[-1]["update"] == 4999 and len(events) < 1000


def test_tuning_runs_are_counted_as_scores_request_them(tmp_path):
    experiment = Experiment.from_files(ROOT / "config" / "config.yaml")
    steps = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert steps["tune"].all == 9 and steps["train"].all == len(experiment.runs) + 54
    first = experiment.tuning.search("iwslt14", "rela").first_runs()
    for run in first:  # the smallest learning rate is best, so one more run follows
        rate = float(run.system.partition("learning_rate=")[2].partition("+")[0])
        summary = {"status": "finished", "best_valid_bleu": 30 - 1000 * rate, "best_valid_loss": 3.0}
        write_json(tmp_path / "results" / "runs" / run.path / "summary.json", summary)
    after = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert (after["train"].done, after["train"].all) == (6, steps["train"].all + 1)


def test_a_job_is_done_when_its_last_file_is_there(tmp_path):
    experiment = Experiment.from_files(ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
    before = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert before["train"].all == len(experiment.runs) and not any(step.done for step in before.values())
    run = next(iter(experiment.runs))
    files = [f"runs/{run.path}/summary.json", "corpora/demo-sentences/statistics.json", "paper/variance_law.json"]
    files += ["corpora/demo-documents/within-64/statistics.json", "paper/tables/gamma.csv", "paper/report.html"]
    for name in files:
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    after = {step.name: step.done for step in progress(experiment, tmp_path / "results")}
    done = {name for name, count in after.items() if count}
    assert done == {"train", "prepare", "pack", "study", "report"} | {"variance_law"}
    assert all(after[name] == 1 for name in done)


@pytest.fixture
def look(tmp_path):
    """Returns the view of the folder `tmp_path` as lines with single spaces."""

    def look() -> list[str]:
        experiment = Experiment.from_files(ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
        console = Console(file=io.StringIO(), width=160)
        view, done = snapshot(experiment, tmp_path)
        assert not done
        console.print(view)
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]

    return look


def test_steps_trainings_jobs_and_failures(look, tmp_path):
    own = tmp_path / "checkpoints" / "demo-sentences" / "reluformer" / "seed1" / "f"
    own.mkdir(parents=True)
    (own / "run.json").write_text(json.dumps({"run": {"training": {"updates": 1500}}}))
    event = {"event": "train", "update": 300, "loss": 4.25, "tokens_per_second": 12345.6, "seconds": 30.0}
    (own / "log.jsonl").write_text(json.dumps(event) + "\n")
    failed, running = "train/demo-sentences/rela/seed1", "analyse/demo-sentences/transformer/seed1"
    for name, text in (
        (failed, "starting\nreluformer: out of memory at update 12\n"),
        (running, "reading\nreluformer: warning: odd\n"),
        ("fetch/own/numbers.fi", "ConnectionError: refused\n"),
        ("fetch/own/there", "fetched\n"),
        ("train/demo-sentences/reluformer/seed1", "update 300\n"),
    ):
        path = tmp_path / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (0, time.time() - 3600.5))
    (tmp_path / "resources" / "own").mkdir(parents=True)
    (tmp_path / "resources" / "own" / "there").touch()
    lines = look()
    training = next(line for line in lines if line.startswith("demo-sentences/reluformer/seed1"))
    assert training.endswith("300 of 1,500 4.250 12,346 2 min 0 s")
    shown = lines[lines.index("running or failed log changed last line") + 1 :]
    assert [line for line in shown if line] == [
        f"analyse demo-sentences/transformer/seed1 logs/{running}.log 1 h 0 min ago reluformer: warning: odd",
        f"train demo-sentences/rela/seed1 logs/{failed}.log 1 h 0 min ago reluformer: out of memory at update 12",
        "fetch own/numbers.fi logs/fetch/own/numbers.fi.log 1 h 0 min ago ConnectionError: refused",
    ]


def test_nothing_yet(look):
    lines = look()
    assert any(line.startswith("train 0 of") for line in lines)
    assert not any(line.startswith(("training", "running")) for line in lines)


@pytest.mark.parametrize("count", [1, 9])
def test_a_failure_names_job_log_and_remedy(tmp_path, count):
    failed = [(f"train numbers/rela/seed{seed}", Path(LOG.format(seed))) for seed in range(count)]
    for _, log in failed:
        (tmp_path / log).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / log).write_text("".join(f"line {n}\n" for n in range(500)) + "reluformer: out of memory\n\n")
    text = explain_failures(failed, tmp_path)
    assert f"train numbers/rela/seed0 failed; the end of {LOG.format(0)}:\n  | line 493" in text
    assert text.count("  | reluformer: out of memory") == min(count, FAILED_SHOWN)
    assert (f"and {9 - FAILED_SHOWN} more:\n  train numbers/rela/seed" in text) == (count > FAILED_SHOWN)
    assert "line 499" in text and "line 400" not in text and "start the same command again" in text


def test_a_missing_log(tmp_path):
    text = explain_failures([("claims", None), ("index", Path("logs/index.log"))], tmp_path)
    assert "claims failed.\n" in text and "  | (no such file or directory)" in text


def test_the_last_line_of_a_log(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("one\nerror: two\n\n")
    assert last_lines(path, 1) == ["error: two"]
    path.write_text("\n")
    assert last_lines(path, 1) == ["(empty)"]
