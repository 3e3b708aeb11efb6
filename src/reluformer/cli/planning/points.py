"""What the job costs that measures a study's systems by length (`reluformer.benchmark`), from the rates of runs."""

from __future__ import annotations

from collections.abc import Mapping

from reluformer.cli.planning.gpus import Rates, decode_flops, update_flops
from reluformer.cli.planning.kinds import key_of, with_vocabulary
from reluformer.cli.planning.sizes import Sizes
from reluformer.config.experiment import Experiment
from reluformer.config.measured import MeasuringConfig
from reluformer.config.run import RunConfig
from reluformer.model.flops import TRAINING, decoding_flops, forward_flops

UNTIMED, LEAST = 1, 2
"""Whole updates of a point that are not timed, and the fewest that are."""


def points_seconds(
    experiment: Experiment, sizes: Mapping[str, Sizes], rates: Mapping[str, Rates], start: float
) -> float:
    """Seconds of all points of the measured study, each of which starts in `start`; 0 without such a study.

    A system's rates at a length are those of its runs on the study's dataset, by their arithmetic.
    """
    total = 0.0
    for config in experiment.measured_systems():
        measured = experiment.studies[experiment.measured_study or ""].measured
        assert measured is not None
        found = sizes[config.dataset]
        whole = with_vocabulary(config, found.vocabulary)
        points = [_point(whole, found, rates[key_of(config)], length, measured) for length in measured.lengths]
        total += measured.rounds * sum(start + point for point in points)
    return total


def _point(config: RunConfig, sizes: Sizes, rates: Rates, length: int, measured: MeasuringConfig) -> float:
    """One system at one length, training and decoding; neither takes longer than the limit."""
    sentences = max(1, measured.batch_tokens // length)
    tokens = sentences * length
    flops = TRAINING * forward_flops(config.model, tokens, tokens, length, length)
    update = rates.update * flops / update_flops(config, sizes)
    training = UNTIMED * update + max(LEAST * update, measured.seconds)
    out = max(1, min(sentences, config.translation.batch_tokens // length)) * length
    search = decoding_flops(config.model, out, out, length, length, config.translation.beam)
    decoding = rates.decode * sizes.test.tokens("tgt") * search / decode_flops(config, sizes.test)
    return min(training, measured.limit) + min(decoding, measured.limit)
