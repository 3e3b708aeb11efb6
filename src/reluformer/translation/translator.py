"""A trained model as a translator: raw text in, detokenised text out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError, merge, parse
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.content import decompress_text
from reluformer.corpus.moses import detokenise_all
from reluformer.corpus.preprocessor import Preprocessor
from reluformer.corpus.text import find_text, require_trained_with
from reluformer.model.files import load_model
from reluformer.translation.decode import ready, translate_n_best
from reluformer.translation.search import Hypothesis


class Translation(NamedTuple):
    """A translation of a line, and its score: log-probability / length ** length_penalty (nats)."""

    text: str
    score: float


class Line(NamedTuple):
    """The translations of a line, best first, and the number of parts in which it was translated.

    A blank line has one empty translation and no parts.
    """

    translations: list[Translation]
    parts: int


class Translator:
    """The model of a run or of an exported folder, with the text preparation of its corpus.

    Args:
        folder: a run's folder, or one that `reluformer export` wrote.
        corpora: the folder of all prepared corpora; None for the one next to the folder of all runs. An exported
            folder does not need it.
        changes: overrides of the run's translation configuration.

    Raises:
        SettingsError: the model or its corpus is missing, they do not match, or the run diverged.
    """

    def __init__(
        self, folder: Path, corpora: Path | None = None, device: torch.device | str = "cpu", **changes: Any
    ) -> None:
        self.config = RunConfig.load(folder)
        files = find_text(folder, self.config, corpora)
        self.text = Preprocessor(files, self.config.src)
        self.settings = parse(TranslationConfig, merge(self.config.translation.model_dump(), changes), "translation")
        if len(self.text.subword) != self.config.model.vocabulary:
            raise SettingsError(
                f"{files.subword}: {len(self.text.subword)} subwords, but the model of {folder} has "
                f"{self.config.model.vocabulary}: they do not belong together"
            )
        require_trained_with(folder, files.subword)
        self.model, _ = load_model(folder, device)
        ready(self.model, self.settings, device)
        self.device = device
        view = split_dataset(self.config.dataset)[1]
        self.documents = view is not None
        self.limit = int(view.rpartition("-")[2]) if view else 2 * files.config.max_tokens
        """Maximum subwords of a source that is translated in one part: L of a document view, else twice the maximum
        words of a training sentence. A model translates badly far beyond the lengths it was trained on."""

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """Translates each sentence separately; the translation of a blank one is empty."""
        return [line.translations[0].text for line in self.lines(sentences)]

    def lines(self, lines: Sequence[str], n_best: int = 1) -> list[Line]:
        """Returns the `n_best` best translations of each line; fewer if fewer finished.

        A line of more than `limit` subwords is translated in parts: its k-th translation joins the k-th of each part,
        and its score is their mean, weighted by tokens.
        """
        if n_best > self.settings.beam:
            raise SettingsError(f"n-best: {n_best}: more than the beam, {self.settings.beam}")
        sources = [self.text.ids([line]) for line in lines]
        parts = [self.text.parts(ids, self.limit, fill=self.documents) if ids else [] for ids in sources]
        by_part = iter(self.search([part for line in parts for part in line], n_best))
        return [self._line([next(by_part) for _ in line]) for line in parts]

    def search(self, sources: Sequence[list[int]], n_best: int) -> list[list[Hypothesis]]:
        """Returns the `n_best` best hypotheses for each source (token ids without EOS, not empty)."""
        arrays = [np.array(source, dtype=np.int64) for source in sources]
        return translate_n_best(self.model, arrays, self.settings, n_best, self.device)

    def written(self, hypothesis: Hypothesis) -> str:
        """Returns a hypothesis as detokenised text."""
        return " ".join(self._detokenise(self.text.subword.sentences(hypothesis.tokens)))

    def _line(self, parts: Sequence[Sequence[Hypothesis]]) -> Line:
        if not parts:
            return Line([Translation("", 0.0)], 0)
        translations = []
        for hypotheses in zip(*parts, strict=False):
            sentences = [text for part in hypotheses for text in self.text.subword.sentences(part.tokens)]
            written = self._detokenise(sentences if self.documents else [" ".join(sentences)])
            scores, tokens = [part.score for part in hypotheses], [len(part.tokens) + 1 for part in hypotheses]
            translations.append(Translation(" ".join(written), float(np.average(scores, weights=tokens))))
        return Line(translations, len(parts))

    def _detokenise(self, sentences: Sequence[str]) -> list[str]:
        return detokenise_all(sentences, self.config.tgt, recase=self.text.truecaser is not None)


Format = Callable[[int, str, Line], str]
"""Number of a line (from 1), its source, its translations -> the output, line ends included."""


def read_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 text, compressed or not, without line ends, as they arrive.

    Raises `SettingsError` if it is not text.
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
    translator: Translator, lines: Iterable[str], chunk: int, n_best: int, form: Format, warn: Callable[[str], None]
) -> Iterator[str]:
    """Translates `chunk` lines at a time; yields the output of each chunk.

    warn: called for every line that was translated in parts.
    """
    stream, first = iter(lines), 1
    while sources := list(itertools.islice(stream, chunk)):
        outputs = []
        for number, (source, line) in enumerate(zip(sources, translator.lines(sources, n_best), strict=True), first):
            if line.parts > 1:
                warn(
                    f"line {number}: longer than the {translator.limit} subwords that the model handles well; "
                    f"translated in {line.parts} parts"
                )
            outputs.append(form(number, source, line))
        yield "".join(outputs)
        first += len(sources)


def text_form(n_best: int, scores: bool) -> Format:
    """Returns a format of one translation per line, after tab-separated line number (if `n_best` > 1) and score."""

    def form(number: int, _: str, line: Line) -> str:
        rows = []
        for translation in line.translations:
            number_field = [str(number)] if n_best > 1 else []
            score_field = [f"{translation.score:.4f}"] if scores else []
            rows.append("\t".join([*number_field, *score_field, translation.text]))
        return "".join(f"{row}\n" for row in rows)

    return form


def json_form(number: int, source: str, line: Line) -> str:
    """Returns one JSON object per line: `{line, source, parts, translations: [{text, score}]}`."""
    translations = [{"text": each.text, "score": round(each.score, 4)} for each in line.translations]
    record = {"line": number, "source": source, "parts": line.parts, "translations": translations}
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
