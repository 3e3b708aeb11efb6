"""The measured study: speed and memory of its systems by length, round by round (`results/paper/measured.json`).

A point runs in a process of its own, forked from one that has imported everything: its peak memory is its own, and a
point that does not fit, or takes too long, ends alone. Within a round the systems follow each other at each length, and
ratios are taken within a round, so that whatever else the machine does affects all of them.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil  # type: ignore[import-untyped]

from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig
from reluformer.config.settings import Strict
from reluformer.config.studies import MeasuringConfig
from reluformer.ops.process import die_with_main_process
from reluformer.training.summary import machine, versions, visible_devices

OUT_OF_MEMORY, TOO_SLOW = "out of memory", "too slow"
PARTS = {"training": ("training_speed", "training_memory", "flops_per_second"), "decoding": ("decoding_speed",)}
RATIOS = {
    "training_ratio": "training_speed",
    "decoding_ratio": "decoding_speed",
    "memory_ratio": "training_memory",
}
PRELOAD = ["reluformer.benchmark.point", "torch._dynamo"]
"""Imported once for all points; the first optimizer imports the second, in over a second."""
START = 600.0
"""Seconds that a process may take to build its model, beside the point's limit."""


class PointError(RuntimeError):
    """A point failed for another reason than memory or time."""


class MeasuringPlan(Strict):
    """A measured study and its systems, whose models have a vocabulary; the first is the baseline."""

    study: str
    measured: MeasuringConfig
    runs: list[RunConfig]


def measuring_plan(experiment: Experiment) -> MeasuringPlan | None:
    """Returns the plan of the experiment's measured study, if it has one."""
    name = experiment.measured_study
    if name is None:
        return None
    runs = []
    for config in experiment.measured_systems():
        vocabulary = experiment.dataset(config.dataset).corpus.vocabulary
        model = config.model.model_copy(update={"vocabulary": vocabulary})
        runs.append(config.model_copy(update={"model": model}))
    measured = experiment.studies[name].measured
    assert measured is not None
    return MeasuringPlan(study=name, measured=measured, runs=runs)


def measure_study(plan: MeasuringPlan, threads: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures every point of a plan.

    Args:
        plan: the study, the systems' runs and the points.
        threads: of torch on a CPU.
        tell: prints progress.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    settings = plan.measured
    failed: dict[tuple[str, str], tuple[int, str]] = {}  # (system, part) -> from which length on, and why
    peak = _apart(context, _peak, plan.runs[0], threads) if visible_devices() else None
    points: list[dict[str, Any]] = []
    for number in range(1, settings.rounds + 1):
        for length in settings.lengths:
            row = [_point(context, run, length, settings, threads, failed) for run in plan.runs]
            for point in row:
                _compare(point, row[0], peak)
                points.append({"round": number, **point})
            tell(f"round {number} of {settings.rounds}, {length} tokens: " + "; ".join(map(_summary, row)))
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


def _summary(point: dict[str, Any]) -> str:
    parts = [
        f"{point[name]:,.0f}" if name in point else point["problems"].get(part, "–")
        for part, (name, *_) in PARTS.items()
    ]
    return f"{point['system']} {', '.join(parts)} tokens/s"


def _compare(point: dict[str, Any], baseline: dict[str, Any], peak: float | None) -> None:
    """Adds the ratios to the baseline of the same round and length, and the utilisation of a GPU."""
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
    failed: dict[tuple[str, str], tuple[int, str]],
) -> dict[str, Any]:
    """Measures one point; a part that failed at this length or a shorter one is not tried again."""
    point: dict[str, Any] = {"system": config.system, "length": length, "problems": {}}
    wanted = []
    for part in PARTS:
        bound, why = failed.get((config.system, part), (length + 1, ""))
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
                failed[config.system, part] = (length, problem)
                if values is None:  # the process ended, or is too slow: the other parts are unknown
                    for other in wanted[wanted.index(part) + 1 :]:
                        point["problems"][other] = problem
                        failed[config.system, other] = (length, problem)
                    break
            point |= values or {}
    finally:
        process.kill()
        process.join()
        ours.close()
    return point


def _receive(connection: Connection, seconds: float, part: str) -> tuple[str, dict[str, float] | None]:
    """The next message of a point's process: a problem and {}, or "" and values; None instead if there is none."""
    if not connection.poll(seconds):
        return TOO_SLOW, None
    try:
        problem, values = connection.recv()
    except EOFError:  # killed by the system for taking too much
        return OUT_OF_MEMORY, None
    if problem and problem != OUT_OF_MEMORY:
        raise PointError(f"{part}: {problem}")
    return problem, values


def _work(
    connection: Connection, config: RunConfig, length: int, settings: MeasuringConfig, threads: int, wanted: list[str]
) -> None:
    """In the point's process: sends that it is ready, then each part's values."""
    import torch

    from reluformer.benchmark.point import Point

    die_with_main_process()
    device = _device(threads)
    data = getattr(psutil.Process().memory_info(), "data", None)  # of Linux alone
    if device.type == "cpu" and data is not None:  # an allocation that does not fit fails here and not elsewhere
        resource.setrlimit(resource.RLIMIT_DATA, (data + psutil.virtual_memory().available * 9 // 10,) * 2)
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
    from reluformer.benchmark.harness import matmul_peak

    connection.send(matmul_peak(config.training.precision, _device(threads)))


def _apart(context: Any, work: Callable[..., None], *arguments: Any) -> float:
    """Returns what `work` sends, from a process of its own."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join()
