"""Whether two systems differ on one test set: sacreBLEU's paired bootstrap and paired approximate randomisation.

Samples and p-values are those of `sacrebleu.significance`, computed from the counts that scoring saves and for all
samples at once: a study has dozens of pairs. sacreBLEU counts samples that differ by *more* than the systems do, so two
equal systems get its smallest p-value; here a p-value is never below the smallest one possible with the number of
differing segments (`least_p`), and 1 for equal systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reluformer.config.evaluation import COUNTS, SignificanceConfig
from reluformer.config.settings import SettingsError
from reluformer.evaluation.bleu import SEED, Counts, bleu_of_sums, bootstrap_scores, read_counts, score_counts

TESTS = ("bootstrap", "randomisation")
CHUNK = 320
"""Number of randomisation trials computed at once. A multiple of 32: numpy draws 32 signs from one random number."""


def bootstrap(ours: Counts, baseline: Counts, samples: int) -> float:
    """Returns the p-value of the paired bootstrap on aligned counts."""
    differences = np.abs(bootstrap_scores(ours, samples) - bootstrap_scores(baseline, samples))
    observed = np.abs(np.subtract(*bleu_of_sums(np.stack([ours.sum(0), baseline.sum(0)]))))
    return _p_value(differences - differences.mean(), float(observed))


def randomisation(pairs: Sequence[tuple[Counts, Counts]], trials: int) -> list[float]:
    """Returns the p-value of the paired approximate randomisation for each pair (ours, baseline) on one test set."""
    gaps = np.stack([baseline - ours for ours, baseline in pairs], axis=1).reshape(len(pairs[0][0]), -1)
    random = np.random.default_rng(SEED)
    moved = np.zeros((1 + trials, gaps.shape[1]))  # row 0: the systems themselves, by the same sums, so that ties tie
    for start in range(0, trials, CHUNK):
        size = (min(CHUNK, trials - start), len(gaps))
        moved[1 + start :][: size[0]] = random.integers(2, size=size, dtype=bool).astype(np.float64) @ gaps
    p_values = []
    for (ours, baseline), change in zip(pairs, moved.reshape(1 + trials, len(pairs), -1).swapaxes(0, 1), strict=True):
        differences = np.abs(bleu_of_sums(ours.sum(0) + change) - bleu_of_sums(baseline.sum(0) - change))
        p_values.append(_p_value(differences[1:], differences[0]))
    return p_values


def _p_value(differences: Counts, observed: float) -> float:
    return (int((differences > observed).sum()) + 1) / (len(differences) + 1)


def least_p(ours: Counts, baseline: Counts) -> float:
    """Returns the smallest two-sided p-value that the number k of differing segments allows: 2 of 2^k exchanges.

    The systems' own difference and its opposite are these two; 1 if the systems are equal.
    """
    differing = int((ours != baseline).any(axis=1).sum())
    return min(1.0, 2.0 ** (1 - differing))


def paired_tests(pairs: Sequence[tuple[Counts, Counts]], config: SignificanceConfig) -> list[dict[str, float]]:
    """Tests pairs (ours, baseline) of aligned counts; those with equally many segments share their random numbers.

    Returns:
        `{score, baseline_score, difference, bootstrap, randomisation}` of each pair: BLEU of both, two-sided p-values.
    """
    randomised: dict[int, float] = {}
    for size in dict.fromkeys(len(ours) for ours, _ in pairs):
        same = [index for index, (ours, _) in enumerate(pairs) if len(ours) == size]
        p_values = randomisation([pairs[index] for index in same], config.randomisation)
        randomised |= dict(zip(same, p_values, strict=True))
    rows = []
    for index, (ours, baseline) in enumerate(pairs):
        least, scores = least_p(ours, baseline), [score_counts(side) or 0.0 for side in (ours, baseline)]
        tests = {
            "bootstrap": max(least, bootstrap(ours, baseline, config.bootstrap)),
            "randomisation": max(least, randomised[index]),
        }
        rows.append({"score": scores[0], "baseline_score": scores[1], "difference": scores[0] - scores[1], **tests})
    return rows


def paired_tests_of_runs(
    folder: Path, pairs: Sequence[tuple[str, str, str]], config: SignificanceConfig
) -> list[dict[str, Any]]:
    """Tests pairs (run, baseline, metric) of runs below `folder`, except those without counts or diverged.

    Returns:
        `{run, baseline, metric, segments, score, ...}`, see `paired_tests`.

    Raises:
        SettingsError: if two runs were not scored on the same segments.
    """
    files = {run: folder / run / COUNTS for pair in pairs for run in pair[:2]}
    counts = {run: read_counts(path) if path.is_file() else {} for run, path in files.items()}
    rows, sides = [], []
    for run, baseline, metric in pairs:
        ours, other = counts[run].get(metric), counts[baseline].get(metric)
        if ours is None or other is None:
            continue
        if len(ours) != len(other):
            raise SettingsError(f"{run} and {baseline}: {len(ours)} segments against {len(other)}; score both again")
        rows.append({"run": run, "baseline": baseline, "metric": metric, "segments": len(ours)})
        sides.append((ours, other))
    return [row | tests for row, tests in zip(rows, paired_tests(sides, config), strict=True)]
