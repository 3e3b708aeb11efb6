import math
from collections import Counter

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from reluformer.evaluation.bleu import count, half_width, score_counts, summarise, tokenized

HYPOTHESES = ["The cat sat on the mat today", "there is a green house on the hill", "it rains a lot in the autumn here"]
REFERENCES = [
    "the cat sat on a mat today",
    "There is a green house at the hill",
    "it rains very much in the autumn here",
]


def score(metric, hypotheses, references):
    return summarise(metric, count(metric, hypotheses, references))


def by_hand(hypotheses: list[str], references: list[str]) -> float:
    """Computes BLEU of whitespace tokens: geometric mean of clipped n-gram precisions times the brevity penalty."""
    matches, totals, ours, theirs = [0] * 4, [0] * 4, 0, 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        a, b = hypothesis.split(), reference.split()
        ours, theirs = ours + len(a), theirs + len(b)
        for n in range(1, 5):
            grams, reference = (Counter(tuple(side[i : i + n]) for i in range(len(side) - n + 1)) for side in (a, b))
            matches[n - 1] += sum((grams & reference).values())
            totals[n - 1] += sum(grams.values())
    precision = sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4
    return 100 * math.exp(precision) * min(1.0, math.exp(1 - theirs / ours))


def test_tokenised_bleu_equals_the_formula_on_lower_cased_tokens():
    expected = by_hand([h.lower() for h in HYPOTHESES], [r.lower() for r in REFERENCES])
    bleu = score(tokenized(), HYPOTHESES, REFERENCES)
    assert bleu["score"] == pytest.approx(expected, abs=1e-9)
    assert "case:lc" in bleu["signature"] and "tok:none" in bleu["signature"]


def test_bleu_is_sacrebleus_own_and_cased_unless_asked():
    cased, lower = (
        score(BLEU(), HYPOTHESES, REFERENCES),
        score(BLEU(lowercase=True), HYPOTHESES, REFERENCES),
    )
    assert cased["score"] == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert lower["score"] > cased["score"]
    assert "case:mixed" in cased["signature"] and "tok:13a" in cased["signature"]
    assert "case:lc" in lower["signature"]


def test_tokens_are_not_split_again():
    tokens = ["a well @-@ known thing , it &apos;s here"]
    assert score(tokenized(), tokens, tokens)["score"] == pytest.approx(100)
    assert score(tokenized(), ["a well-known thing here today"], ["a well - known thing here today"])["score"] < 100


def test_chrf_of_equal_text_is_100():
    assert score(CHRF(), REFERENCES, REFERENCES)["score"] == pytest.approx(100)
    assert score(CHRF(), HYPOTHESES, REFERENCES)["score"] == pytest.approx(
        sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    )


def test_nothing_scores_nothing_and_unequal_numbers_are_refused():
    assert score(BLEU(), [], []) is None
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        score(BLEU(), ["a"], ["a", "b"])


def test_any_set_of_segments_is_scored_from_the_counts():
    counts = count(BLEU(), HYPOTHESES, REFERENCES)
    assert score_counts(counts) == score(BLEU(), HYPOTHESES, REFERENCES)["score"]
    assert score_counts(counts[1:]) == pytest.approx(score(BLEU(), HYPOTHESES[1:], REFERENCES[1:])["score"])
    assert score_counts(counts[:0]) is None and half_width(counts[:1]) is None


def test_the_interval_is_that_of_sacrebleu():
    scored = sacrebleu.BLEU().corpus_score(HYPOTHESES * 9, [REFERENCES * 9], n_bootstrap=1000)
    assert score(BLEU(), HYPOTHESES * 9, REFERENCES * 9)["ci"] == pytest.approx(scored._ci)
