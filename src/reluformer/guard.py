"""What stops a run of the paper on a machine that would take months for it, and says so before it starts.

The cost of a training on a CPU is stated, not measured: 6 FLOPs for each weight and token, and 12·L·E for each
attention and token, at half the speed that this machine's matrix products reach.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from reluformer.experiment import Experiment
from reluformer.run import RunConfig, split_dataset
from reluformer.training.devices import visible_devices

PATIENCE_HOURS = 12.0
"""A run of the workflow that takes longer than this on a CPU is stopped at its start."""
UTILISATION = 0.5
SENTENCE = 30
"""Tokens of a sentence, about."""


def refusal(experiment: Experiment, trainings: Sequence[RunConfig]) -> str | None:
    """Why these trainings are not begun on this machine, and what to do instead; None where they may be.

    The toy, a machine with a GPU, `force` and what is done within half a day are never refused.
    """
    if experiment.config.toy or experiment.config.force or not trainings or visible_devices():
        return None
    speed = matrix_speed() * UTILISATION
    seconds = sum(training_flops(config, vocabulary(experiment, config)) for config in trainings) / speed
    if seconds <= 3600 * PATIENCE_HOURS:
        return None
    cores = len(os.sched_getaffinity(0))
    return (
        f"No GPU here: {len(trainings)} training(s) of this would take about {in_words(seconds)} on these {cores} "
        f"core(s)\n(half of the {2 * speed / 1e9:.0f} GFLOP/s that matrix products reach here). Nothing was begun.\n\n"
        "  make demo                                      the same paper in small, in minutes\n"
        "  reluformer doctor                              whether there is a GPU that is only not found\n"
        "  snakemake --profile workflow/profiles/slurm    on a cluster: docs/slurm.md\n"
        "  snakemake ... --config force=true              here, all the same\n"
    )


def training_flops(config: RunConfig, vocabulary: int) -> float:
    """FLOPs of a whole training, forward and backward, without what is smaller than matrix products."""
    model, training = config.model, config.training
    width, ffn = model.width, 2 * model.width * model.slots
    weights = model.encoder_layers * (4 * width**2 + ffn) + model.decoder_layers * (8 * width**2 + ffn)
    view = split_dataset(config.dataset)[1]
    length = int(view.rpartition("-")[2]) if view else SENTENCE
    attentions = 12 * length * width * (model.encoder_layers + 2 * model.decoder_layers)
    return (6 * (weights + width * vocabulary) + attentions) * training.batch_tokens * training.updates


def vocabulary(experiment: Experiment, config: RunConfig) -> int:
    """Subwords of a run's corpus, as configured."""
    return config.model.vocabulary or experiment.dataset(config.dataset).corpus.vocabulary


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
