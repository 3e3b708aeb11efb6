"""One point: as many tokens as asked for, memory that grows with the length, a peak that matrix products reach."""

from __future__ import annotations

import mmap
import time

import numpy as np
import pytest
import torch

from reluformer.benchmark import point as measuring
from reluformer.benchmark.point import Endless, Point, make_batch, median_seconds, peak_memory
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


def test_a_search_puts_out_as_many_tokens_as_the_source_has(small_run):
    point = Point(small_run(), 12, SETTINGS, CPU)
    with torch.no_grad():  # a model that would end at once
        point.model.embeddings.output_weight[EOS] *= 100
    search = point.config.translation.model_copy(update={"max_ratio": 1.0, "max_extra": 0})
    found = translate(Endless(point.model.eval()), [np.arange(10, 21)] * 2, search, CPU)
    assert [len(one.tokens) for one in found] == [11, 11]


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


def test_memory_is_what_is_taken_and_given_back():
    # Of the system: the allocator may have as much at hand.
    with peak_memory(CPU) as taken, mmap.mmap(-1, 64 << 20) as block:
        block[:: mmap.PAGESIZE] = b"x" * (len(block) // mmap.PAGESIZE)
    assert 60 * 2**20 < taken() < 100 * 2**20
    with peak_memory(CPU) as taken:
        pass
    assert taken() < 8 * 2**20


@pytest.mark.parametrize(("threads", "clock"), [(1, "process_time"), (2, "perf_counter")])
def test_a_time_is_the_median_of_several(threads, clock, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    ticks = iter([0.0, 1.0, 1.0, 10.0, 10.0, 12.0])
    monkeypatch.setattr(time, clock, lambda: next(ticks))
    assert median_seconds(lambda: None, 11.0, CPU) == 2.0


def test_a_long_search_is_timed_once(monkeypatch):
    ticks = iter([0.0, 3.0])
    monkeypatch.setattr(time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert median_seconds(lambda: None, 1.0, CPU, calls=1) == 3.0


def test_the_peak_of_matrix_products():
    assert measuring.matmul_peak("fp32", CPU, 0.01) == pytest.approx(1e11, rel=100)
