"""What stops a run of the paper on a machine that would take months for it, and says so before it starts.

The cost of a training on a CPU is that of its matrix products (`reluformer plan` counts them), at half the speed that
this machine reaches in one now.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reluformer.cli.planning.gpus import update_flops
from reluformer.cli.planning.kinds import with_vocabulary
from reluformer.cli.planning.sizes import Sizes, read_sizes
from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.training.devices import visible_devices

PATIENCE_HOURS = 12.0
"""A run of the workflow that takes longer than this on a CPU is stopped at its start."""
UTILISATION = 0.5


def refusal(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> str | None:
    """Why these trainings are not begun on this machine, and what to do instead; None where they may be.

    The toy, a machine with a GPU, `force` and what is done within half a day are never refused. `corpora` is the
    folder of prepared corpora.
    """
    if experiment.config.toy or experiment.config.force or not trainings or visible_devices():
        return None
    speed = matrix_speed() * UTILISATION
    seconds = training_flops(experiment, trainings, corpora) / speed
    if seconds <= 3600 * PATIENCE_HOURS:
        return None
    cores = len(os.sched_getaffinity(0))
    return (
        f"No GPU here: {len(trainings)} training(s) of this would take about {in_words(seconds)} on these {cores} "
        f"core(s)\n(half of the {2 * speed / 1e9:.0f} GFLOP/s that matrix products reach here). Nothing was begun.\n\n"
        "  make demo                                      the same paper in small, in minutes\n"
        "  reluformer plan                                what it costs on a GPU\n"
        "  reluformer doctor                              whether there is a GPU that is only not found\n"
        "  snakemake --profile workflow/profiles/slurm    on a cluster: docs/slurm.md\n"
        "  snakemake ... --config force=true              here, all the same\n"
    )


def training_flops(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> float:
    """FLOPs of the matrix products of these trainings; of a corpus of which no `sizes` are known, none."""
    sizes: dict[str, Sizes | None] = {}
    total = 0.0
    for config in trainings:
        if config.dataset not in sizes:
            try:
                sizes[config.dataset] = read_sizes(config.dataset, experiment.dataset(config.dataset), corpora)
            except SettingsError:
                sizes[config.dataset] = None
        if (found := sizes[config.dataset]) is not None:
            total += config.training.updates * update_flops(with_vocabulary(config, found.vocabulary), found)
    return total


def matrix_speed(size: int = 1024) -> float:
    """FLOPs a second of products of fp32 matrices on this CPU: the best of five."""
    a = np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def in_words(seconds: float) -> str:
    """`19 hours`, `12 days`, `3.4 years`."""
    hours = seconds / 3600
    if hours < 48:
        return f"{hours:.0f} hours"
    return f"{hours / 24:.0f} days" if hours < 24 * 700 else f"{hours / 24 / 365:.1f} years"
