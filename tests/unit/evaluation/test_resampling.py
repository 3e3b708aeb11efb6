"""Resampling against sacreBLEU's functions, sample by sample; test_significance.py compares with its command line."""

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample

from reluformer.evaluation.bleu import bleu_of_sums, bootstrap_scores
from reluformer.evaluation.significance import bootstrap, randomisation


class Counted(BLEU):
    """sacreBLEU's BLEU on counts instead of text."""

    def _extract_corpus_statistics(self, hypotheses, references):
        return hypotheses


def made_up(segments, seed, quality=0.6):
    """Returns synthetic counts of a translation of `segments` segments."""
    random = np.random.default_rng(seed)
    length = random.integers(1, 40, segments)
    written = np.maximum(0, length[:, None] - np.arange(4))
    matched = random.binomial(written, quality ** np.arange(1, 5))
    return np.column_stack([length, random.integers(1, 40, segments), matched, written]).astype(np.float64)


def sacrebleus(ours, baseline, kind, samples):
    metric = Counted()
    metric.num_refs = 1
    systems = [("baseline", baseline), ("ours", ours)]
    return PairedTest(systems, {"BLEU": metric}, None, kind, samples)()[1]["BLEU"][1].p_value


@pytest.mark.parametrize(
    "sums",
    [
        [100, 90, 60, 40, 20, 10, 100, 95, 90, 85],
        [90, 100, 60, 40, 20, 10, 90, 85, 80, 75],
        [90, 100, 60, 40, 0, 0, 90, 85, 80, 75],  # smoothed twice
        [90, 100, 0, 0, 0, 0, 90, 85, 80, 75],
        [3, 5, 3, 2, 1, 0, 3, 2, 1, 0],  # no 4-gram
        [0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
)
def test_the_formula_is_sacrebleus(sums):
    assert bleu_of_sums(np.array([sums], float))[0] == pytest.approx(BLEU()._compute_score_from_stats(sums).score)


@pytest.mark.parametrize("segments", [7, 33, 500])
def test_samples_of_the_bootstrap_are_sacrebleus(segments):
    counts = made_up(segments, seed=1)
    expected = [sample.score for sample in _bootstrap_resample(counts, BLEU(), 300)[1]]
    np.testing.assert_allclose(bootstrap_scores(counts, 300), expected, rtol=1e-6)  # sacreBLEU divides in float32


@pytest.mark.parametrize("segments", [7, 33, 500])
@pytest.mark.parametrize("samples", [100, 1001])
def test_p_values_are_sacrebleus(segments, samples):
    pairs = [(made_up(segments, seed, 0.63), made_up(segments, seed + 9)) for seed in range(4)]
    for (ours, baseline), p in zip(pairs, randomisation(pairs, samples), strict=True):
        assert p == pytest.approx(sacrebleus(ours, baseline, "ar", samples), abs=1e-12)
        assert bootstrap(ours, baseline, samples) == pytest.approx(sacrebleus(ours, baseline, "bs", samples), abs=1e-12)


def test_p_values_of_a_large_test_set_are_sacrebleus():
    ours, baseline = made_up(2000, 1), made_up(2000, 2)
    assert randomisation([(ours, baseline)], 2000) == [sacrebleus(ours, baseline, "ar", 2000)]
