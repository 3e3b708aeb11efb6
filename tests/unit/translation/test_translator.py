from __future__ import annotations

import io
import json

import pytest

from reluformer.config.settings import SettingsError
from reluformer.corpus.moses import detokenise_all
from reluformer.translation.step import translate_run
from reluformer.translation.translator import (
    Line,
    Translation,
    Translator,
    json_form,
    read_lines,
    text_form,
    translate_lines,
)

LINE = Line([Translation("um dois", -0.25), Translation("dois um", -0.5)], 1)


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
    expected = [" ".join(detokenise_all(line["sentences"], "en", recase=True)) for line in lines]
    searched = translator.search([translator.text.ids(segment) for segment in segments], 1)
    assert [translator.written(best) for (best,) in searched] == expected
    if dataset == "toy":
        assert translator(raw) == expected


def test_blank_lines_stay_blank_and_in_their_place(experiment):
    translator = Translator(experiment.run("toy", None), experiment.corpora)
    first, blank, last = translator(["Der Hund sieht das Haus.", "  ", "Katze mag Baum."])
    assert (first, last) == tuple(translator(["Der Hund sieht das Haus.", "Katze mag Baum."]))
    assert first and last and blank == ""
    assert translator([]) == []


@pytest.mark.parametrize(
    "blank", ["", " ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2028", "\x85", "\x1c", "\r"]
)
def test_a_line_of_invisible_characters_is_blank(experiment, blank):
    translator = Translator(experiment.run("toy", None), experiment.corpora)
    assert translator([blank]) == [""]
    assert translator.text.ids([blank, blank]) == []


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


class Echo:
    """A translator that records its calls."""

    limit = 24

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def lines(self, lines: list[str], n_best: int) -> list[Line]:
        self.calls.append(lines)
        return [Line([Translation(line.upper(), -1.0)] * n_best, 1 + line.count(" ")) for line in lines]


def test_lines_end_at_line_feeds_alone():
    text = "\ufeffeins\r\nzwei\u2028drei\x0bvier\n\nfünf".encode()
    assert list(read_lines(io.BytesIO(text), "x")) == ["eins", "zwei\u2028drei\x0bvier", "", "fünf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\xff\n", "x: line 2: not UTF-8 text"),
        (b"\x7fELF\0\0\n", "x: binary data, where text is"),
        (b"a\nb\0c\n", "x: line 2: not text but"),
    ],
)
def test_what_is_not_text_is_refused_with_its_line(text, message):
    with pytest.raises(SettingsError, match=message):
        list(read_lines(io.BytesIO(text), "x"))


def test_each_chunk_is_written_before_the_next_is_read():
    translator, warnings, read = Echo(), [], []

    def lines():
        for line in ["a", "b", "c c", "d", "e"]:
            read.append(line)
            yield line

    written = translate_lines(translator, lines(), 2, 1, text_form(1, False), warnings.append)
    assert next(written) == "A\nB\n" and read == ["a", "b"]
    assert "".join(written) == "C C\nD\nE\n"
    assert translator.calls == [["a", "b"], ["c c", "d"], ["e"]]
    assert len(warnings) == 1 and warnings[0].startswith("line 3: longer than the 24 subwords")


def test_text_has_numbers_and_scores_only_on_request():
    assert text_form(1, False)(7, "x", Line(LINE.translations[:1], 1)) == "um dois\n"
    assert text_form(1, True)(7, "x", Line(LINE.translations[:1], 1)) == "-0.2500\tum dois\n"
    assert text_form(2, False)(7, "x", LINE) == "7\tum dois\n7\tdois um\n"
    assert text_form(2, True)(7, "x", LINE) == "7\t-0.2500\tum dois\n7\t-0.5000\tdois um\n"


def test_json_has_one_object_per_line():
    record = json.loads(json_form(7, "ein \u2028 Satz", LINE))
    assert record["line"] == 7 and record["source"] == "ein \u2028 Satz" and record["parts"] == 1
    assert record["translations"] == [{"text": "um dois", "score": -0.25}, {"text": "dois um", "score": -0.5}]
