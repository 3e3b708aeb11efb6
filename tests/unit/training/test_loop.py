"""Mirrors `reluformer.training.loop`; whole trainings are in test_worker and test_resume."""

from __future__ import annotations

import itertools
from unittest.mock import MagicMock

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reluformer.config.training import TrainingConfig
from reluformer.corpus.batches import pad
from reluformer.corpus.store import Sequences
from reluformer.training import loop
from reluformer.training.loop import Trainer, explain_out_of_memory
from reluformer.training.stopping import TrainingError


def test_log_lines_are_means_between_them(training):
    """Logging every update or every fifth shows the same losses."""
    fine = training("fine", updates=10, log_every=1).finish().log("train")
    coarse = training("coarse", updates=10, log_every=5).finish()
    assert [line["update"] for line in coarse.log("train")] == [5, 10]
    tokens_weighted = sum(line["loss"] for line in fine[:5]) / 5
    assert coarse.log("train")[0]["loss"] == pytest.approx(tokens_weighted, rel=0.02)
    assert coarse.log("train")[1]["lr"] == fine[9]["lr"] == 5e-3


def test_activation_checkpointing_changes_no_number(training):
    plain = training("plain", updates=10).finish()
    recomputed = training("recomputed", updates=10, activation_checkpointing=True).finish()
    assert plain.weights() == recomputed.weights()


def test_compile_is_ignored_on_a_cpu_with_a_message(training):
    plain = training("plain", updates=10).finish()
    compiled = training("asked", updates=10, compile=True).finish()
    assert compiled.weights() == plain.weights()
    assert "training.compile: has no effect on cpu, only on a GPU" in compiled.messages()
    assert "training.compile" not in plain.messages()


def test_out_of_memory_names_the_batch():
    config = TrainingConfig(batch_tokens=200)
    batch = pad(Sequences.of([[5] * 5] * 5), Sequences.of([[5] * 7] * 5)).map(torch.from_numpy)
    message = r"update 7.* 5 pairs padded to 6 source and 8 target.*batch_tokens \(200\)"
    with pytest.raises(TrainingError, match=message), explain_out_of_memory(config, 7, batch):
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory(config, 7, batch):
        raise RuntimeError("shape mismatch")


def test_freed_memory_returns_by_updates_however_long_they_take(monkeypatch):
    """By the clock, a large model's returned at every few updates, which then spent their time on page faults."""
    returned = []
    clock = itertools.count(0, 30)
    monkeypatch.setattr(loop, "time", MagicMock(monotonic=lambda: next(clock)))
    monkeypatch.setattr(loop, "return_freed_memory", lambda: returned.append(trainer.update))
    trainer = MagicMock(seconds=0, _clock=0, _window_clock=0, startup_seconds=0)
    trainer.config.checkpoint_minutes = 0
    trainer.reducer.flush.return_value = ([MagicMock()], (False, False))
    for update in range(1, 2 * loop.RETURN_EVERY + 1):
        trainer.update = update
        Trainer.reduce_losses(trainer, 1e-3)
    assert returned == [loop.RETURN_EVERY, 2 * loop.RETURN_EVERY]


def test_a_validation_returns_the_memory_that_it_freed(monkeypatch):
    """It stayed until the next multiple of `RETURN_EVERY`, which is minutes for a large model."""
    trainer = MagicMock(results={"best_valid_loss": None})
    trainer.validation.measure.return_value = {"loss": 3.0}
    monkeypatch.setattr(loop, "return_freed_memory", trainer.return_freed_memory)
    Trainer._validate(trainer)
    assert [call[0] for call in trainer.mock_calls[:2]] == ["validation.measure", "return_freed_memory"]


def test_tensorboard_through_deepspeed(training):
    done = training("a", updates=10, tensorboard=True).finish()
    events = EventAccumulator(str(done.checkpoints / "tensorboard"))
    events.Reload()
    curve = [(scalar.step, scalar.value) for scalar in events.Scalars("train/loss")]
    assert curve == [(line["update"], pytest.approx(line["loss"], rel=1e-6)) for line in done.log("train")]


@pytest.mark.slow
def test_interim_checkpoints_by_the_clock(training):
    timed = training("a", updates=30, checkpoint_every=1000, checkpoint_minutes=1e-6, average_last=5).finish()
    straight = training("b", updates=30, checkpoint_every=1000, average_last=5).finish()
    assert timed.weights() == straight.weights()  # what the clock saved is never averaged


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1])
def test_mixed_precision_is_used_and_learns_the_same(training, zero_stage):
    curves = {}
    for precision in ("fp32", "bf16", "fp16"):
        done = training(precision, updates=30, dropout=0.0, precision=precision, zero_stage=zero_stage).finish()
        curves[precision] = [line["loss"] for line in done.log("train")]
    for precision in ("bf16", "fp16"):
        assert curves[precision] != curves["fp32"]
        assert curves[precision] == pytest.approx(curves["fp32"], rel=0.05)
