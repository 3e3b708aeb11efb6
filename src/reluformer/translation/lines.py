"""Text in, translations out: a stream of lines through a translator, some at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from reluformer.config.settings import SettingsError
from reluformer.corpus.content import decompress_text
from reluformer.translation.translator import Line, Translator

Form = Callable[[int, str, Line], str]
"""Number of a line (from 1), its source, its translations -> what is written, line ends included."""


def read_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a UTF-8 text, compressed or not, without their ends, as they come.

    Raises `SettingsError` where it is not text.
    """
    for number, line in enumerate(decompress_text(file, name), start=1):  # type: ignore[arg-type]
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name}: line {number}: not UTF-8 text ({error.reason})") from None
        if "\0" in text:
            raise SettingsError(f"{name}: line {number}: not text but a binary file")
        yield text.removesuffix("\n").removesuffix("\r")


def translate_lines(
    translator: Translator, lines: Iterable[str], chunk: int, n_best: int, form: Form, warn: Callable[[str], None]
) -> Iterator[str]:
    """What is to be written for each `chunk` lines, as soon as they are translated.

    warn: told of every line that was translated in parts.
    """
    stream, first = iter(lines), 1
    while sources := list(itertools.islice(stream, chunk)):
        written = []
        for number, (source, line) in enumerate(zip(sources, translator.lines(sources, n_best), strict=True), first):
            if line.parts > 1:
                warn(
                    f"line {number}: longer than the {translator.limit} subwords that the model is good for; "
                    f"translated in {line.parts} parts"
                )
            written.append(form(number, source, line))
        yield "".join(written)
        first += len(sources)


def text_form(n_best: int, scores: bool) -> Form:
    """A translation a line; of several the line's number before each; the score before the text; tabs between."""

    def form(number: int, _: str, line: Line) -> str:
        rows = []
        for translation in line.translations:
            number_field = [str(number)] if n_best > 1 else []
            score_field = [f"{translation.score:.4f}"] if scores else []
            rows.append("\t".join([*number_field, *score_field, translation.text]))
        return "".join(f"{row}\n" for row in rows)

    return form


def json_form(number: int, source: str, line: Line) -> str:
    """One JSON object a line: `{line, source, parts, translations: [{text, score}]}`."""
    translations = [{"text": found.text, "score": round(found.score, 4)} for found in line.translations]
    record = {"line": number, "source": source, "parts": line.parts, "translations": translations}
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
