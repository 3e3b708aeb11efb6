from __future__ import annotations

import json
import os

import pytest

from reluformer.cli.watching.trainings import train_events, trainings


@pytest.fixture
def training(tmp_path):
    """A training's files as it writes them, `updates` of 1000 done; all last touched at `at`."""

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
    (one,) = trainings(tmp_path, now=1010.0)
    assert one.run == "numbers/transformer/seed1"
    assert (one.update, one.updates, one.loss, one.tokens_per_second) == (200, 1000, 7.0, 50.0)
    assert one.left == pytest.approx(80.0) and one.goes_on and one.quiet == 10.0


def test_one_that_just_starts_and_one_that_stopped(training, tmp_path):
    training(updates=())
    training("numbers/rela/seed1", at=0.0)
    stopped, starting = trainings(tmp_path, now=1010.0)
    assert (starting.update, starting.loss, starting.left, starting.goes_on) == (0, None, None, True)
    assert stopped.run == "numbers/rela/seed1" and not stopped.goes_on


def test_files_that_are_not_whole_are_no_error(training, tmp_path):
    training()
    (tmp_path / "numbers/transformer/seed1/fingerprint/run.json").write_text('{"run"')
    assert trainings(tmp_path) == [] and trainings(tmp_path / "none") == []


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"event": "train", "update": i}) + "\n" for i in range(5000)))
    events = train_events(path)
    assert events[-1]["update"] == 4999 and len(events) < 1000
