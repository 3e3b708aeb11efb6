"""The measured study: speed and memory of its systems by length, round by round (`results/paper/measured.json`).

Training and decoding at a point each run in a process of their own, forked from one that has imported everything: peak
memory is their own, and one that runs out of memory or time ends alone. Within a round, the systems run one after
another at each length, and ratios are taken within a round, so that other load on the machine affects all of them.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil  # type: ignore[import-untyped]

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig
from reluformer.config.settings import Strict
from reluformer.config.studies import MeasuringConfig
from reluformer.ops.process import die_with_main_process
from reluformer.training.summary import machine, versions, visible_devices

OUT_OF_MEMORY, TOO_SLOW = "out of memory", "too slow"
PARTS = ("training", "decoding")
RATIOS = {
    "training_ratio": "training_speed",
    "decoding_ratio": "decoding_speed",
    "memory_ratio": "training_memory",
}
PRELOAD = ["reluformer.benchmark.point", "torch._dynamo"]
"""Imported once for all points; otherwise the first optimizer would import the second, which takes over a second."""
START = 600.0
"""Seconds that a process may take to build its model, in addition to the point's limit."""


class PointError(RuntimeError):
    """A point failed for a reason other than memory or time."""


class MeasuringPlan(Strict):
    """A measured study and the runs of its systems, with their vocabulary set; the first is the baseline."""

    study: str
    measured: MeasuringConfig
    runs: list[RunConfig]


def measuring_plan(experiment: Experiment) -> MeasuringPlan | None:
    """Returns the plan of the experiment's measured study, if it has one."""
    name = experiment.measured_study
    if name is None:
        return None
    study = experiment.studies[name]
    dataset = experiment.dataset_name(study)
    vocabulary = experiment.datasets[dataset].corpus.vocabulary
    runs = [experiment.resolve(Run(dataset, system, 1)).with_vocabulary(vocabulary) for system in study.systems]
    assert study.measured is not None
    return MeasuringPlan(study=name, measured=study.measured, runs=runs)


def measure_study(plan: MeasuringPlan, threads: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measures every point of a plan.

    Args:
        plan: the study, the systems' runs and the points.
        threads: torch's threads on a CPU.
        log: prints progress.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    settings = plan.measured
    failed: dict[tuple[str, str], tuple[int, str]] = {}  # (system, part) -> shortest length that failed, and why
    peak = None
    if visible_devices():
        peak = _run(context, "peak", plan.runs[0], 0, settings, threads)[1]["flops_per_second"]
    points: list[dict[str, Any]] = []
    for number in range(1, settings.rounds + 1):
        for length in settings.lengths:
            row = [_point(context, run, length, settings, threads, failed) for run in plan.runs]
            for point in row:
                _compare(point, row[0], peak)
                points.append({"round": number, **point})
            log(f"round {number} of {settings.rounds}, {length} tokens: " + "; ".join(map(_summary, row)))
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
    speeds = [
        f"{point[f'{part}_speed']:,.0f}" if f"{part}_speed" in point else point["problems"][part] for part in PARTS
    ]
    return f"{point['system']} {', '.join(speeds)} tokens/s"


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
    for part in PARTS:
        shortest, problem = failed.get((config.system, part), (length + 1, ""))
        if length < shortest:
            problem, values = _run(context, part, config, length, settings, threads)
            point |= values
        if problem:
            point["problems"][part] = problem
            failed.setdefault((config.system, part), (length, problem))
    return point


def _run(
    context: Any, part: str, config: RunConfig, length: int, settings: MeasuringConfig, threads: int
) -> tuple[str, dict[str, float]]:
    """Runs a part in a process of its own; returns (problem, {}) or ("", values). Raises `PointError`."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, part, config, length, settings, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        for limit in (START, settings.limit):  # until the model is built, then until the part is measured
            if not ours.poll(limit):
                return TOO_SLOW, {}
            problem, values = ours.recv()
            if problem == OUT_OF_MEMORY:
                return problem, {}
            if problem:
                raise PointError(f"{part}: {problem}")
        return "", values
    except EOFError:  # killed by the operating system for using too much memory
        return OUT_OF_MEMORY, {}
    finally:
        process.kill()
        process.join()
        ours.close()


def _work(
    connection: Connection, part: str, config: RunConfig, length: int, settings: MeasuringConfig, threads: int
) -> None:
    """Runs in the part's process; reports that the model is built, then sends the values."""
    import torch

    from reluformer.benchmark.harness import matmul_peak
    from reluformer.benchmark.point import Point

    die_with_main_process()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":  # an oversized allocation fails here, not in another process
        available = psutil.virtual_memory().available
        resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + available * 9 // 10,) * 2)
    try:
        if part == "peak":
            connection.send(("", {}))
            connection.send(("", {"flops_per_second": matmul_peak(config.training.precision, device)}))
            return
        point = Point(config, length, settings, device)
        connection.send(("", {}))
        connection.send(("", point.train() if part == "training" else point.decode()))
    except (MemoryError, torch.OutOfMemoryError):
        connection.send((OUT_OF_MEMORY, {}))
    except Exception as error:
        no_memory = "can't allocate memory" in str(error) or "not enough memory" in str(error)
        connection.send((OUT_OF_MEMORY if no_memory else f"{type(error).__name__}: {error}", {}))
