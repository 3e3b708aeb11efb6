"""Timers and memory meters, for the study of speed by length and for benchmarks/."""

from __future__ import annotations

import contextlib
import gc
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

STATUS = Path("/proc/self/status")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def timed(
    run: Callable[[], object], device: torch.device | str, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the seconds of one call, including its work on the GPU."""
    _synchronize(device)
    begin = clock()
    run()
    _synchronize(device)
    return clock() - begin


def _synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(run: Callable[[], object], least: float, device: torch.device, calls: int = 2) -> float:
    """Returns the median time of `run`, called at least `calls` times and for at least `least` seconds.

    With one thread on a CPU it is processor time, which other load on the machine hardly affects.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times: list[float] = []
    while len(times) < calls or sum(times) < least:
        times.append(timed(run, device, clock))
    return float(np.median(times))


@contextlib.contextmanager
def peak_memory(device: torch.device | str) -> Iterator[Callable[[], float]]:
    """Measures the peak memory added inside the context, by the GPU's allocator or by this process.

    Without /proc, as on macOS, the peak cannot be reset: only memory above the process's earlier peak counts.

    Yields a function that returns the bytes once the context has ended.
    """
    gc.collect()
    result = float("nan")
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: result
        result = float(torch.cuda.max_memory_allocated(device) - before)
        return
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = _peak_resident()
    yield lambda: result
    result = float(_peak_resident() - before)


def _peak_resident() -> int:
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def matmul_speed(precision: str, device: torch.device | str) -> Callable[[], float]:
    """Returns a function that measures the FLOP/s of one large matrix product, the reference for utilisation."""
    size = 8192 if torch.device(device).type == "cuda" else 1024
    matrix = torch.randn(size, size, device=device, dtype=DTYPES[precision])
    torch.matmul(matrix, matrix)
    return lambda: 2 * size**3 / timed(lambda: torch.matmul(matrix, matrix), device)


def matmul_peak(precision: str, device: torch.device | str, seconds: float = 0.5) -> float:
    """Returns the best FLOP/s of many large matrix products."""
    measure = matmul_speed(precision, device)
    best, end = measure(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = max(best, measure())
    return best
