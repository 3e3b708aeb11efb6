"""Corpus scores by sacreBLEU: of text as people write it, and of tokenised text as the field's older tables have it.

The paper's figures are of the second kind (tokenised, lower-cased); the first kind is comparable across toolkits. Both
keep sacreBLEU's signature. A BLEU is computed from its counts, a row a segment, so that parts of a test set are scored
and resampled without reading the text again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from reluformer.config.evaluation import PLAIN, Tokenizer
from reluformer.evaluation import resampling
from reluformer.evaluation.tokenisers import SPLITTING

Counts = NDArray[np.float64]
"""Segments × 10: hypothesis and reference length, matched n-grams (n = 1..4), hypothesis n-grams (n = 1..4)."""
SAMPLES = 1000
"""Resamples of a bootstrap interval, sacreBLEU's default; its seed is sacreBLEU's default, 12345."""

LEAST = 100
"""Segments from which on a bootstrap interval holds the truth 93 to 97 % of the time; below, it is too narrow."""


def written(lowercase: bool = False, tokenizer: Tokenizer = PLAIN) -> BLEU:
    """The BLEU of detokenised lines, by one of sacreBLEU's tokenisers."""
    return BLEU(lowercase=lowercase, tokenize=tokenizer)


def tokenized(tokenizer: Tokenizer = PLAIN) -> BLEU:
    """The BLEU of tokenised lines, lower-cased, as multi-bleu -lc; of a language without spaces by its tokeniser."""
    return BLEU(tokenize=tokenizer if tokenizer in SPLITTING else "none", lowercase=True, force=True)


def count(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> Counts:
    """What the metric counts in each segment."""
    _check(hypotheses, references)
    if not hypotheses:
        return np.zeros((0, 10))
    return np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64)


def score_counts(counts: Counts) -> float | None:
    """BLEU, 0..100, of counted segments; None of none."""
    return float(BLEU()._compute_score_from_stats(list(counts.sum(0))).score) if len(counts) else None


def half_width(counts: Counts, samples: int = SAMPLES) -> float | None:
    """Half the width of the 95 % bootstrap interval over segments, as `sacrebleu --confidence` prints; None of one."""
    if len(counts) < 2:
        return None
    return resampling.half_width(counts, samples)


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False, tokenizer: Tokenizer = PLAIN
) -> dict[str, Any] | None:
    """`{"score": 0..100, "ci", "signature"}` of detokenised lines; None of no lines. `ci` is `half_width`."""
    return summarise(metric := written(lowercase, tokenizer), count(metric, hypotheses, references))


def tokenized_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any] | None:
    """`{"score": 0..100, "ci", "signature"}` of tokenised lines, lower-cased; None of no lines."""
    return summarise(metric := tokenized(), count(metric, hypotheses, references))


def summarise(metric: BLEU, counts: Counts, tokenizer: str | None = None) -> dict[str, Any] | None:
    """`{"score", "ci", "signature"}` of segments that the metric counted; None of none.

    tokenizer: its part of the signature, where it need not be installed.
    """
    if not len(counts):
        return None
    if tokenizer is not None:
        metric.tokenizer_signature = tokenizer
    metric.num_refs = 1  # else there is no signature
    return {"score": score_counts(counts), "ci": half_width(counts), "signature": str(metric.get_signature())}


def chrf(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> dict[str, Any] | None:
    """`{"score": 0..100, "signature"}` of detokenised lines by character n-grams; None of no lines."""
    return summarise_chrf(count_chrf(hypotheses, references, lowercase), lowercase)


def count_chrf(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> Counts:
    """What chrF counts in each segment: [segments, 18], for n = 1..6 n-grams of the hypothesis, the reference, both."""
    _check(hypotheses, references)
    if not hypotheses:
        return np.zeros((0, 18))
    found = CHRF(lowercase=lowercase)._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.array(found, dtype=np.float64)


def summarise_chrf(counts: Counts, lowercase: bool = False) -> dict[str, Any] | None:
    """`{"score": 0..100, "signature"}` of segments that chrF counted; None of none."""
    if not len(counts):
        return None
    metric = CHRF(lowercase=lowercase)
    metric.num_refs = 1  # else there is no signature
    score = metric._compute_score_from_stats([int(total) for total in counts.sum(0)])
    return {"score": score.score, "signature": str(metric.get_signature())}


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
