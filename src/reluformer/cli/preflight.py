"""Refuses to start a run of the paper on a machine that would take months for it.

A training on a CPU costs its matrix products (`reluformer plan` counts them), at half the speed that this machine
reaches in one now.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reluformer.cli.costs import duration, read_sizes, update_flops
from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.ops.process import usable_cores
from reluformer.training.summary import visible_devices

LIMIT_HOURS = 12.0
"""A workflow that would train for longer than this on a CPU does not start."""
CPU_UTILISATION = 0.5
"""Share of the speed of a matrix product that a training reaches."""


def refusal(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> str | None:
    """Returns why these trainings do not start on this machine, and what to do instead; None if they may.

    The toy, a machine with a GPU, `force` and what takes less than half a day are never refused. `corpora` is the
    folder of prepared corpora.
    """
    if experiment.config.toy or experiment.config.force or not trainings or visible_devices():
        return None
    speed = matrix_speed() * CPU_UTILISATION
    seconds = training_flops(experiment, trainings, corpora) / speed
    if seconds <= 3600 * LIMIT_HOURS:
        return None
    cores = usable_cores()
    return (
        f"No GPU here: {len(trainings)} training(s) of this would take about {duration(seconds)} on these {cores} "
        f"core(s)\n(half of the {2 * speed / 1e9:.0f} GFLOP/s that matrix products reach). Nothing was started.\n\n"
        "  make demo                                      the same workflow in small, in minutes\n"
        "  reluformer plan                                what it costs on a GPU\n"
        "  reluformer doctor                              whether there is a GPU that torch does not find\n"
        "  snakemake --profile workflow/profiles/slurm    on a cluster: docs/slurm.md\n"
        "  snakemake ... --config force=true              start it here anyway\n"
    )


def training_flops(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> float:
    """Returns the FLOPs of these trainings' matrix products; none for a corpus of unknown size."""
    total = 0.0
    for dataset, configs in itertools.groupby(sorted(trainings, key=_dataset), _dataset):
        with contextlib.suppress(SettingsError):
            sizes = read_sizes(dataset, experiment.dataset(dataset), corpora)
            total += sum(config.training.updates * update_flops(config, sizes) for config in configs)
    return total


_dataset = operator.attrgetter("dataset")


def matrix_speed(size: int = 1024) -> float:
    """Returns the FLOP/s of fp32 matrix products on this CPU: the best of five."""
    a = np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
