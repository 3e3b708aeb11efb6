"""All points of a measured study, round by round: `results/paper/measured.json`.

A point runs in a process of its own, forked from one that has imported everything, so that its peak memory is its own
and a point that does not fit, or takes too long, ends alone. Within a round, the systems follow each other at each
length, and ratios are taken within a round: whatever else the machine does meets all of them.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil  # type: ignore[import-untyped]

from reluformer.benchmark.plan import MeasuringPlan
from reluformer.config.run import RunConfig
from reluformer.config.studies import MeasuringConfig
from reluformer.ops.orphans import die_with_main_process
from reluformer.training.devices import visible_devices
from reluformer.training.summary import machine, versions

OUT_OF_MEMORY, TOO_SLOW = "out of memory", "too slow"
PARTS = {"training": ("training_speed", "training_memory", "flops_per_second"), "decoding": ("decoding_speed",)}
RATIOS = {
    "training_ratio": "training_speed",
    "decoding_ratio": "decoding_speed",
    "memory_ratio": "training_memory",
}
PRELOAD = ["reluformer.benchmark.point", "torch._dynamo"]
"""What every point would import for itself: the second by its first optimizer, in over a second."""
START = 600.0
"""Seconds that a process may take to have its model, beside the point's limit."""


class PointError(RuntimeError):
    """A point failed, and neither memory nor time was the reason."""


def measure(plan: MeasuringPlan, threads: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures every point of a plan.

    Args:
        plan: the study, the systems' runs and the points.
        threads: of torch on a CPU.
        tell: what is being done, for a person.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    settings = plan.measured
    lost: dict[tuple[str, str], tuple[int, str]] = {}  # (system, part) -> from which length on, and why
    peak = _apart(context, _peak, plan.runs[0], threads) if visible_devices() else None
    points: list[dict[str, Any]] = []
    for number in range(1, settings.rounds + 1):
        for length in settings.lengths:
            found = [_point(context, run, length, settings, threads, lost) for run in plan.runs]
            for point in found:
                _compare(point, found[0], peak)
                points.append({"round": number, **point})
            tell(f"round {number} of {settings.rounds}, {length} tokens: " + "; ".join(map(_told, found)))
    return {
        "study": plan.study,
        "baseline": plan.runs[0].system,
        "settings": settings.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
        "threads": threads,
        "peak_flops_per_second": peak,
        "points": points,
    }


def _told(point: dict[str, Any]) -> str:
    shown = [
        f"{point[name]:,.0f}" if name in point else point["problems"].get(part, "–")
        for part, (name, *_) in PARTS.items()
    ]
    return f"{point['system']} {', '.join(shown)} tokens/s"


def _compare(point: dict[str, Any], baseline: dict[str, Any], peak: float | None) -> None:
    """Adds the ratios to the baseline of the same round and length, and on a GPU the utilisation."""
    for ratio, name in RATIOS.items():
        if name in point and baseline.get(name):
            point[ratio] = point[name] / baseline[name]
    if peak and "flops_per_second" in point:
        point["utilisation"] = point["flops_per_second"] / peak


def _point(
    context: Any,
    config: RunConfig,
    length: int,
    settings: MeasuringConfig,
    threads: int,
    lost: dict[tuple[str, str], tuple[int, str]],
) -> dict[str, Any]:
    """One point; a part that did not end at this length or a shorter one is not tried again."""
    point: dict[str, Any] = {"system": config.system, "length": length, "problems": {}}
    wanted = []
    for part in PARTS:
        bound, why = lost.get((config.system, part), (length + 1, ""))
        if length >= bound:
            point["problems"][part] = why
        else:
            wanted.append(part)
    if not wanted:
        return point
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, config, length, settings, threads, wanted), daemon=True)
    process.start()
    theirs.close()
    try:
        _receive(ours, START, "start")
        for part in wanted:
            problem, values = _receive(ours, settings.limit, part)
            if problem:
                point["problems"][part] = problem
                lost[config.system, part] = (length, problem)
                if values is None:  # the process is no longer there, or not to be waited for: the rest is not known
                    for other in wanted[wanted.index(part) + 1 :]:
                        point["problems"][other] = problem
                        lost[config.system, other] = (length, problem)
                    break
            point |= values or {}
    finally:
        process.kill()
        process.join()
        ours.close()
    return point


def _receive(connection: Connection, seconds: float, part: str) -> tuple[str, dict[str, float] | None]:
    """What a point's process says next: a problem and {}, or no problem and values; none instead if it says nothing."""
    if not connection.poll(seconds):
        return TOO_SLOW, None
    try:
        problem, values = connection.recv()
    except EOFError:  # ended by the system, which does that to whoever takes too much
        return OUT_OF_MEMORY, None
    if problem and problem != OUT_OF_MEMORY:
        raise PointError(f"{part}: {problem}")
    return problem, values


def _work(
    connection: Connection, config: RunConfig, length: int, settings: MeasuringConfig, threads: int, wanted: list[str]
) -> None:
    """In the point's process: says that it has begun, then each part's values."""
    import torch

    from reluformer.benchmark.point import Point

    die_with_main_process()
    device = _device(threads)
    if device.type == "cpu":  # an allocation that does not fit fails here, instead of something elsewhere
        available = psutil.virtual_memory().available
        resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + available * 9 // 10,) * 2)
    try:
        point = Point(config, length, settings, device)
        connection.send(("", {}))
        for part in wanted:
            try:
                connection.send(("", point.train() if part == "training" else point.decode()))
            except (MemoryError, torch.OutOfMemoryError):
                connection.send((OUT_OF_MEMORY, {}))
            except RuntimeError as error:
                if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
                    raise
                connection.send((OUT_OF_MEMORY, {}))
    except Exception as error:
        connection.send((f"{type(error).__name__}: {error}", {}))


def _device(threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _peak(connection: Connection, config: RunConfig, threads: int) -> None:
    from reluformer.benchmark.point import matmul_peak

    connection.send(matmul_peak(config.training.precision, _device(threads)))


def _apart(context: Any, work: Callable[..., None], *arguments: Any) -> float:
    """What `work` sends, from a process of its own."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join()
