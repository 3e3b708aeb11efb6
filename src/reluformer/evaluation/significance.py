"""Whether two systems differ on one test set: sacreBLEU's paired bootstrap and paired approximate randomisation.

Both are sacreBLEU's own tests (its seed, its numbers of samples, its p-values), computed by
`reluformer.evaluation.resampling` from the counts that scoring keeps in place of the text. sacreBLEU counts samples
that differ by *more* than the systems do, so that two equal systems get its smallest p-value; here a p-value is never
below what the number of differing segments allows (`least_p`), and that of equal systems is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reluformer.config.evaluation import COUNTS, SignificanceConfig
from reluformer.config.settings import SettingsError
from reluformer.evaluation.bleu import Counts, score_counts
from reluformer.evaluation.counts import read_counts as read_all_counts
from reluformer.evaluation.resampling import bootstrap, randomisation

TESTS = ("bootstrap", "randomisation")


def least_p(ours: Counts, baseline: Counts) -> float:
    """The smallest two-sided p-value of a paired test: of k segments that differ, 2^k exchanges are equally likely.

    The systems' own difference and its opposite are two of them; 1 where the systems are equal.
    """
    differing = int((ours != baseline).any(axis=1).sum())
    return min(1.0, 2.0 ** (1 - differing))


def paired_tests(ours: Counts, baseline: Counts, config: SignificanceConfig) -> dict[str, float]:
    """`{score, baseline_score, difference, bootstrap, randomisation}`: BLEU of both, a two-sided p-value of each test.

    Counts are aligned, a row a segment. Raises `ValueError` where they are not.
    """
    return paired_tests_of([(ours, baseline)], config)[0]


def paired_tests_of(pairs: Sequence[tuple[Counts, Counts]], config: SignificanceConfig) -> list[dict[str, float]]:
    """`paired_tests` of several pairs (ours, baseline): those with equally many segments share their random numbers."""
    for ours, baseline in pairs:
        if ours.shape != baseline.shape:
            raise ValueError(f"{len(ours)} segments against {len(baseline)}")
    randomised: dict[int, float] = {}
    for size in dict.fromkeys(len(ours) for ours, _ in pairs):
        same = [index for index, (ours, _) in enumerate(pairs) if len(ours) == size]
        found = randomisation([pairs[index] for index in same], config.randomisation)
        randomised |= dict(zip(same, found, strict=True))
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
    folder: Path, pairs: Sequence[Mapping[str, str]], config: SignificanceConfig
) -> list[dict[str, Any]]:
    """Every pair of runs that can be compared, with its paired tests: `{run, baseline, metric, segments, score, ...}`.

    A pair is `{run, baseline, metric}`, runs as paths below `folder`. Pairs of which a run is not there, or diverged,
    are left out. Raises `SettingsError` where two runs were not scored on the same segments.
    """
    counts = {key: read_counts(folder / key[0], key[1]) for pair in pairs for key in _sides(pair)}
    there = [pair for pair in pairs if all(counts[key] is not None for key in _sides(pair))]
    sides: list[Any] = [tuple(counts[key] for key in _sides(pair)) for pair in there]
    for pair, (ours, baseline) in zip(there, sides, strict=True):
        if len(ours) != len(baseline):
            raise SettingsError(
                f"{pair['run']} and {pair['baseline']}: {len(ours)} segments against {len(baseline)}; score both again"
            )
    found = paired_tests_of(sides, config)
    return [
        {**pair, "segments": len(ours), **tests} for pair, (ours, _), tests in zip(there, sides, found, strict=True)
    ]


def _sides(pair: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(pair[side], pair["metric"]) for side in ("run", "baseline")]


def read_counts(run_folder: Path, kind: str) -> Counts | None:
    """What one kind of BLEU counts in each segment of a run's translation; None where it has none."""
    path = run_folder / COUNTS
    return read_all_counts(path).get(kind) if path.is_file() else None
