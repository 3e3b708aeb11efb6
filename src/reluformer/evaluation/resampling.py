"""sacreBLEU's bootstrap and approximate randomisation on counted segments, all samples at once.

The samples (its seed, its order of random numbers) and p-values are those of `sacrebleu.significance`, which scores one
sample after the other: a paired test of 6,750 segments takes it ten seconds, and a study has dozens. Sums of counts are
exact in float64, whatever the order in which they are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sacrebleu.significance import estimate_ci

SEED = 12345
"""sacreBLEU's."""
ORDERS = 4
CHUNK = 320
"""Trials of a randomisation at a time. A multiple of 32: numpy draws 32 signs from one random number."""

Array = NDArray[np.float64]


def bleu_of_sums(sums: Array) -> Array:
    """BLEU, 0..100, of summed counts [..., 10]: sacreBLEU's formula with its exponential smoothing."""
    ours, theirs = sums[..., 0], sums[..., 1]
    matched, written = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(ours < theirs, np.where(ours > 0, np.exp(1 - theirs / ours), 0.0), 1.0)
        smoothed = 2.0 ** -np.cumsum(matched == 0, axis=-1)
        precision = 100 * np.where(matched > 0, matched, smoothed) / written
        mean = np.log(precision).sum(axis=-1) / ORDERS
    whole = (written > 0).all(axis=-1) & (matched > 0).any(axis=-1)
    return np.where(whole, brevity * np.exp(np.where(whole, mean, 0.0)), 0.0)


@lru_cache(maxsize=8)
def resamples(segments: int, samples: int) -> Array:
    """How often each of the bootstrap's samples takes each segment: [samples, segments]."""
    drawn = np.random.default_rng(SEED).choice(segments, size=(samples, segments), replace=True)
    drawn += np.arange(samples)[:, None] * segments
    return np.bincount(drawn.ravel(), minlength=samples * segments).reshape(samples, segments).astype(np.float64)


def bootstrap_scores(counts: Array, samples: int) -> Array:
    """BLEU of each sample of the bootstrap: [samples]. counts: [segments, 10]."""
    return bleu_of_sums(resamples(len(counts), samples) @ counts)


def half_width(counts: Array, samples: int) -> float:
    """Half the width of the 95 % bootstrap interval over segments, as `sacrebleu --confidence` prints."""
    return float(estimate_ci(bootstrap_scores(counts, samples))[1])


def bootstrap(ours: Array, baseline: Array, samples: int) -> float:
    """p of the paired bootstrap. ours, baseline: [segments, 10], aligned."""
    differences = np.abs(bootstrap_scores(ours, samples) - bootstrap_scores(baseline, samples))
    seen = np.abs(np.subtract(*bleu_of_sums(np.stack([ours.sum(0), baseline.sum(0)]))))
    return _p_value(differences - differences.mean(), float(seen))


def randomisation(pairs: Sequence[tuple[Array, Array]], trials: int) -> list[float]:
    """p of the paired approximate randomisation of each pair (ours, baseline), all [segments, 10] of one test set."""
    if not pairs:
        return []
    gaps = np.stack([baseline - ours for ours, baseline in pairs], axis=1).reshape(len(pairs[0][0]), -1)
    random = np.random.default_rng(SEED)
    moved = np.zeros((1 + trials, gaps.shape[1]))  # at 0 the systems as they are: computed alike, so that ties are ties
    for start in range(0, trials, CHUNK):
        size = (min(CHUNK, trials - start), len(gaps))
        moved[1 + start :][: size[0]] = random.integers(2, size=size, dtype=bool).astype(np.float64) @ gaps
    found = []
    for (ours, baseline), change in zip(pairs, moved.reshape(1 + trials, len(pairs), -1).swapaxes(0, 1), strict=True):
        scores = bleu_of_sums(ours.sum(0) + change), bleu_of_sums(baseline.sum(0) - change)
        differences = np.abs(scores[0] - scores[1])
        found.append(_p_value(differences[1:], differences[0]))
    return found


def _p_value(found: Array, difference: float) -> float:
    return (int((found > difference).sum()) + 1) / (len(found) + 1)
