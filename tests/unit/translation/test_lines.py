"""A stream of lines through a translator: as many lines out, in chunks, in the form that was asked for."""

from __future__ import annotations

import io
import json

import pytest

from reluformer.config.settings import SettingsError
from reluformer.translation.lines import json_form, read_lines, text_form, translate_lines
from reluformer.translation.translator import Line, Translation

LINE = Line([Translation("um dois", -0.25), Translation("dois um", -0.5)], 1)


class Echo:
    """A translator that says what it was asked."""

    limit = 24

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def lines(self, lines: list[str], n_best: int) -> list[Line]:
        self.asked.append(lines)
        return [Line([Translation(line.upper(), -1.0)] * n_best, 1 + line.count(" ")) for line in lines]


def test_lines_end_at_line_feeds_alone():
    text = "\ufeffeins\r\nzwei\u2028drei\x0bvier\n\nfünf".encode()
    assert list(read_lines(io.BytesIO(text), "x")) == ["eins", "zwei\u2028drei\x0bvier", "", "fünf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\xff\n", "x: line 2: not UTF-8 text"),
        (b"\x7fELF\0\0\n", "x: a program, where text is"),
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
    assert translator.asked == [["a", "b"], ["c c", "d"], ["e"]]
    assert len(warnings) == 1 and warnings[0].startswith("line 3: longer than the 24 subwords")


def test_text_has_numbers_and_scores_only_if_asked_for():
    assert text_form(1, False)(7, "x", Line(LINE.translations[:1], 1)) == "um dois\n"
    assert text_form(1, True)(7, "x", Line(LINE.translations[:1], 1)) == "-0.2500\tum dois\n"
    assert text_form(2, False)(7, "x", LINE) == "7\tum dois\n7\tdois um\n"
    assert text_form(2, True)(7, "x", LINE) == "7\t-0.2500\tum dois\n7\t-0.5000\tdois um\n"


def test_json_is_one_object_a_line():
    record = json.loads(json_form(7, "ein \u2028 Satz", LINE))
    assert record["line"] == 7 and record["source"] == "ein \u2028 Satz" and record["parts"] == 1
    assert record["translations"] == [{"text": "um dois", "score": -0.25}, {"text": "dois um", "score": -0.5}]
