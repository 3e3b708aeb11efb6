from __future__ import annotations

import mmap
import time

import pytest
import torch

from reluformer.benchmark import harness
from reluformer.benchmark.harness import matmul_peak, median_seconds, peak_memory

CPU = torch.device("cpu")


def test_peak_memory_counts_memory_that_was_freed_again():
    # Memory from mmap, as the allocator may reuse memory that it holds.
    with peak_memory(CPU) as taken, mmap.mmap(-1, 64 << 20) as block:
        block[:: mmap.PAGESIZE] = b"x" * (len(block) // mmap.PAGESIZE)
    assert 60 * 2**20 < taken() < 100 * 2**20
    with peak_memory(CPU) as taken:
        pass
    assert taken() < 8 * 2**20


@pytest.mark.parametrize(("threads", "clock"), [(1, "process_time"), (2, "perf_counter")])
def test_a_time_is_the_median_of_several_calls(threads, clock, monkeypatch):
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
    assert matmul_peak("fp32", CPU, 0.01) == pytest.approx(1e11, rel=100)


def test_memory_is_measured_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "STATUS", tmp_path / "status")
    with peak_memory("cpu") as peak:
        pass
    assert peak() >= 0
