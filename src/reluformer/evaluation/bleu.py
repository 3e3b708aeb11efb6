"""Corpus scores by sacreBLEU: of text as people write it, and of tokenised text as the field's older tables have it.

The paper's figures are of the second kind (tokenised, lower-cased); the first kind is comparable across toolkits. Both
keep sacreBLEU's signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF


def bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> dict[str, Any] | None:
    """`{"score": 0..100, "signature"}` of detokenised lines by sacreBLEU's own tokeniser (13a); None of no lines."""
    return _score(BLEU(lowercase=lowercase), hypotheses, references)


def tokenized_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any] | None:
    """`{"score": 0..100, "signature"}` of tokenised lines, lower-cased, as multi-bleu -lc; None of no lines."""
    return _score(BLEU(tokenize="none", lowercase=True, force=True), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> dict[str, Any] | None:
    """`{"score": 0..100, "signature"}` of detokenised lines by character n-grams; None of no lines."""
    return _score(CHRF(lowercase=lowercase), hypotheses, references)


def _score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any] | None:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    if not hypotheses:
        return None
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return {"score": score.score, "signature": str(metric.get_signature())}
