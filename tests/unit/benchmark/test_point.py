"""One point of a measurement: its batch, its forced output length and its speeds."""

from __future__ import annotations

import numpy as np
import torch

from reluformer.benchmark import point as measuring
from reluformer.benchmark.point import Endless, Point, make_batch
from reluformer.config.studies import MeasuringConfig
from reluformer.corpus.subword import BOS, EOS
from reluformer.translation.decode import translate

CPU = torch.device("cpu")
SETTINGS = MeasuringConfig(lengths=[12], batch_tokens=48, seconds=0.001)


def test_a_batch_is_full():
    batch = make_batch(3, 7, 50, CPU)
    assert batch.src.shape == batch.tgt_in.shape == batch.tgt_out.shape == (3, 7)
    assert (batch.tgt_in[:, 0] == BOS).all() and torch.equal(batch.tgt_in[:, 1:], batch.tgt_out[:, :-1])
    assert batch.src_mask.all() and batch.tgt_mask.all()


def test_a_search_outputs_as_many_tokens_as_the_source_has(small_run):
    point = Point(small_run(), 12, SETTINGS, CPU)
    with torch.no_grad():  # a model that would stop at once
        point.model.embeddings.output_weight[EOS] *= 100
    search = point.config.translation.model_copy(update={"max_ratio": 1.0, "max_extra": 0})
    hypotheses = translate(Endless(point.model.eval()), [np.arange(10, 21)] * 2, search, CPU)
    assert [len(hypothesis.tokens) for hypothesis in hypotheses] == [11, 11]


def test_speeds_are_tokens_by_seconds(small_run, monkeypatch):
    monkeypatch.setattr(measuring, "median_seconds", lambda run, least, device, calls=2: run() or 0.5)
    point = Point(small_run(), 12, SETTINGS, CPU)
    before = [parameter.detach().clone() for parameter in point.model.parameters()]
    values = point.train()
    assert values["training_speed"] == 48 / 0.5
    assert values["flops_per_second"] > 48 * 6 * 16 * 50  # more than the vocabulary's projection
    assert values["training_memory"] >= 0
    for parameter, old in zip(point.model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old)
    assert point.decode() == {"decoding_speed": 4 * 12 / 0.5}
