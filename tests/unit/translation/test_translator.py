from __future__ import annotations

import json

import pytest

from reluformer.config.settings import SettingsError
from reluformer.evaluation.detokenise import detokenise_all
from reluformer.translation.step import translate_run
from reluformer.translation.translator import Translator


@pytest.mark.parametrize("dataset", ["toy", "toy@within-32"])
def test_raw_text_is_translated_as_the_test_split_was(experiment, dataset):
    run = experiment.run(dataset, None)
    translate_run(run, experiment.corpora)
    lines = [json.loads(line) for line in (run / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()]
    raw = (experiment.corpora / "toy" / "raw" / "test.de").read_text(encoding="utf-8").splitlines()
    if dataset == "toy":
        segments = [[line] for line in raw]
    else:
        table = (experiment.corpora / "toy" / "within-32" / "test.segments.tsv").read_text().splitlines()[1:]
        bounds = [tuple(map(int, row.split("\t")[1:])) for row in table]
        segments = [raw[first : first + count] for first, count in bounds]
        assert max(count for _, count in bounds) > 1
    translator = Translator(run, experiment.corpora)
    expected = [detokenise_all(line["sentences"], "en", recase=True) for line in lines]
    assert translator.segments(segments) == expected
    if dataset == "toy":
        assert translator(raw) == [" ".join(sentences) for sentences in expected]


def test_blank_lines_stay_blank_and_in_their_place(experiment):
    translator = Translator(experiment.run("toy", None), experiment.corpora)
    first, blank, last = translator(["Der Hund sieht das Haus.", "  ", "Katze mag Baum."])
    assert (first, last) == tuple(translator(["Der Hund sieht das Haus.", "Katze mag Baum."]))
    assert first and last and blank == ""
    assert translator([]) == []


@pytest.mark.parametrize(
    "blank", ["", " ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2028", "\x85", "\x1c", "\r"]
)
def test_a_line_in_which_nothing_is_seen_is_blank(experiment, blank):
    translator = Translator(experiment.run("toy", None), experiment.corpora)
    assert translator([blank]) == [""]
    assert translator.segments([[blank, blank], ["Der Hund."]])[0] == []


@pytest.mark.parametrize(
    "odd", ["Der\u2028Hund", "Der\x85Hund", "Der\rHund", "Der\x0cHund", "\ufeffDer Hund", "Der \u200bHund"]
)
def test_a_line_with_odd_characters_is_one_line(experiment, odd):
    translator = Translator(experiment.run("toy", None), experiment.corpora)
    (text,) = translator([odd])
    assert text and len(text.splitlines()) == 1


def test_a_diverged_run_cannot_translate(experiment):
    with pytest.raises(SettingsError, match="diverged"):
        Translator(experiment.run("toy", None, status="diverged"), experiment.corpora)


def test_a_missing_corpus_is_named(experiment, tmp_path):
    with pytest.raises(SettingsError, match=r"toy/provenance\.json: there is no such file"):
        Translator(experiment.run("toy", None), tmp_path)
