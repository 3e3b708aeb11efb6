"""Event files match the logs and are rewritten only if a log has changed."""

from __future__ import annotations

import json
import os

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reluformer.cli.tools import find_logs, write_curves
from reluformer.config.settings import SettingsError

EVENTS = [
    {"event": "train", "update": 50, "epoch": 0, "loss": 7.5, "grad_norm": None, "seconds": 2.0},
    {"event": "train", "update": 100, "epoch": 0, "loss": 6.5, "grad_norm": 1.0, "seconds": 4.0},
    {"event": "valid", "update": 100, "loss": 5.25, "bleu": 6.5},
]


@pytest.fixture
def runs(tmp_path):
    """The folder of a finished run, whose log ends in a truncated line, and that of a training."""
    for path in ("runs/iwslt14/reluformer+gamma=1/seed1", "checkpoints/iwslt14/transformer/seed2/0a1b2c"):
        (tmp_path / path).mkdir(parents=True)
        text = "".join(json.dumps(event) + "\n" for event in EVENTS) + '{"event": "tr'
        (tmp_path / path / "log.jsonl").write_text(text, encoding="utf-8")
    return [tmp_path / "runs", tmp_path / "checkpoints"]


def test_curves_are_those_of_the_log(runs, tmp_path):
    assert write_curves(runs, tmp_path / "out") == 2
    for run in ("iwslt14/reluformer+gamma=1/seed1", "iwslt14/transformer/seed2"):
        curves = EventAccumulator(str(tmp_path / "out" / run)).Reload()
        assert set(curves.Tags()["tensors"]) == {"train/loss", "train/grad_norm", "valid/loss", "valid/bleu"}
        points = [(point.step, point.tensor_proto.float_val[0]) for point in curves.Tensors("train/loss")]
        assert points == [(50, 7.5), (100, 6.5)]
        first, second = (point.wall_time for point in curves.Tensors("train/loss"))
        assert second - first == pytest.approx(2.0, abs=1e-3)


def test_only_a_changed_log_is_written_again(runs, tmp_path):
    out = tmp_path / "out"
    write_curves(runs, out)
    before = set(out.rglob("events*"))
    log = find_logs(runs)["iwslt14/transformer/seed2"]
    os.utime(log, (log.stat().st_mtime + 10,) * 2)
    write_curves(runs, out)
    after = set(out.rglob("events*"))
    assert len(after) == 2 and len(before & after) == 1 and "seed1" in str(next(iter(before & after)))


def test_a_folder_without_runs_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"no run has a log\.jsonl there"):
        write_curves([tmp_path], tmp_path / "out")
