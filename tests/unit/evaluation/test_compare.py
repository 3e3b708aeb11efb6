"""Comparison of two runs segment by segment: scores are sacreBLEU's, and differences are found."""

from __future__ import annotations

import json
import shutil

import pytest
import sacrebleu

from reluformer.config.settings import SettingsError
from reluformer.evaluation.compare import compare_runs, differing


@pytest.fixture(scope="module")
def comparison(trained):
    return compare_runs(trained.other, trained.run, trained.corpora)


def test_every_segment_has_sacrebleus_sentence_scores(trained, comparison):
    references = (trained.corpora / "numbers" / "raw" / "test.pt").read_text(encoding="utf-8").splitlines()
    assert [segment.source for segment in comparison.segments] == trained.raw
    assert [segment.reference for segment in comparison.segments] == references
    for segment in comparison.segments[:20]:
        assert segment.b.bleu == pytest.approx(sacrebleu.sentence_bleu(segment.b.text, [segment.reference]).score)
        assert segment.a.chrf == pytest.approx(sacrebleu.sentence_chrf(segment.a.text, [segment.reference]).score)
        assert segment.length == len(segment.source.split())


def test_corpus_scores_are_those_of_the_runs(trained, comparison):
    for name in ("bleu", "chrf"):
        for run, summary in zip((trained.other, trained.run), comparison.metrics[name], strict=True):
            assert summary == json.loads((run / "scores.json").read_text())["metrics"][name]


@pytest.mark.parametrize("score", ["bleu", "chrf"])
def test_the_most_different_come_first_and_all_are_counted(comparison, score):
    differences = [abs(segment.difference(score)) for segment in comparison.ordered(score)]
    assert differences == sorted(differences, reverse=True) and differences[0] > 20
    counts = comparison.counts(score)
    assert counts["segments"] == len(differences) and counts["b_better"] > counts["a_better"]
    assert counts["a_better"] + counts["b_better"] + differences.count(0) == counts["segments"]
    summary = comparison.summary(score, 3)
    assert json.loads(json.dumps(summary, allow_nan=False))["most_different"][0]["number"] == (
        comparison.ordered(score)[0].number
    )
    assert len(summary["most_different"]) == 3


def test_lengths_are_buckets_of_all_segments(comparison):
    narrow = comparison._replace(bounds=(5, 8)).by_length()
    assert [(row["low"], row["high"]) for row in narrow] == [(1, 5), (6, 8), (9, None)]
    assert sum(row["segments"] for row in narrow) == len(comparison.segments)
    shortest = [segment.a.bleu for segment in comparison.segments if segment.length <= 5]
    assert narrow[0]["bleu_a"] == pytest.approx(sum(shortest) / len(shortest))


def test_words_of_only_one_system_are_listed():
    assert differing("the old cat sat", "the cat sat down") == (
        [("the", False), ("old", True), ("cat sat", False)],
        [("the", False), ("cat sat", False), ("down", True)],
    )
    assert differing("", "a b") == ([], [("a b", True)])


def test_what_cannot_be_compared_is_refused(trained, tmp_path):
    other = shutil.copytree(trained.run, tmp_path / "other")
    (other / "hypotheses.jsonl").write_text('{"index": 0, "sentences": ["a"], "source_tokens": 1, "score": 0}\n')
    with pytest.raises(SettingsError, match="1 lines do not fit the 119 segments"):
        compare_runs(trained.run, other, trained.corpora)
    (other / "hypotheses.jsonl").write_text("oops\n")
    with pytest.raises(SettingsError, match="not the hypotheses of a run"):
        compare_runs(trained.run, other, trained.corpora)
    config = (other / "config.yaml").read_text().replace("dataset: numbers", "dataset: letters")
    (other / "config.yaml").write_text(config)
    with pytest.raises(SettingsError, match="numbers and letters: two datasets"):
        compare_runs(trained.run, other, trained.corpora)
