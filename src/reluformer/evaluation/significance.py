"""Whether two systems differ on one test set: sacreBLEU's paired bootstrap and paired approximate randomisation.

Both are sacreBLEU's own tests (its seed, its numbers of samples), run on the counts that scoring keeps in place of the
text. sacreBLEU counts samples that differ by *more* than the systems do, so that two equal systems get its smallest
p-value; here a p-value is never below what the number of differing segments allows (`least_p`), and that of equal
systems is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from reluformer.evaluation.bleu import Counts
from reluformer.evaluation.config import COUNTS, SignificanceConfig
from reluformer.settings import SettingsError

TESTS = {"bootstrap": "bs", "randomisation": "ar"}


class _Counted(BLEU):
    """sacreBLEU's BLEU, given counts where it expects text."""

    def _extract_corpus_statistics(self, hypotheses: Any, references: Any) -> Any:
        return hypotheses


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
    if ours.shape != baseline.shape:
        raise ValueError(f"{len(ours)} segments against {len(baseline)}")
    least, found = least_p(ours, baseline), {}
    for name, kind in TESTS.items():
        metric = _Counted()
        metric.num_refs = 1  # else there is no signature
        systems: Any = [("baseline", baseline), ("ours", ours)]
        samples = getattr(config, name)
        _, results = PairedTest(systems, {"BLEU": metric}, None, kind, samples)()
        theirs, mine = results["BLEU"]
        found[name] = max(least, float(mine.p_value))  # type: ignore[union-attr, arg-type]
    score, against = float(mine.score), float(theirs.score)  # type: ignore[union-attr]
    return {"score": score, "baseline_score": against, "difference": score - against, **found}


def compare_runs(folder: Path, pairs: Sequence[Mapping[str, str]], config: SignificanceConfig) -> list[dict[str, Any]]:
    """Every pair of runs that can be compared, with its paired tests: `{run, baseline, metric, segments, score, ...}`.

    A pair is `{run, baseline, metric}`, runs as paths below `folder`. Pairs of which a run is not there, or diverged,
    are left out. Raises `SettingsError` where two runs were not scored on the same segments.
    """
    rows = []
    for pair in pairs:
        ours, baseline = (read_counts(folder / pair[side], pair["metric"]) for side in ("run", "baseline"))
        if ours is None or baseline is None:
            continue
        try:
            tests = paired_tests(ours, baseline, config)
        except ValueError as error:
            raise SettingsError(f"{pair['run']} and {pair['baseline']}: {error}; score both again") from None
        rows.append({**pair, "segments": len(ours), **tests})
    return rows


def read_counts(run_folder: Path, kind: str) -> Counts | None:
    """What one kind of BLEU counts in each segment of a run's translation; None where it has none."""
    path = run_folder / COUNTS
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return arrays[kind].astype(np.float64) if kind in arrays else None
