"""A trained model as a translator: text as people write it in, text as people write it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError, merge, parse
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.text import Preprocessor, find_text, require_trained_with
from reluformer.evaluation.detokenise import detokenise_all
from reluformer.model.files import load_model
from reluformer.translation.decode import ready, translate_n_best
from reluformer.translation.search import Hypothesis


class Translation(NamedTuple):
    """One translation of a line, and its log-probability / length ** length_penalty (nats)."""

    text: str
    score: float


class Line(NamedTuple):
    """What became of one line: its translations, the best first, and the parts in which it was translated.

    A blank line has one empty translation and no parts.
    """

    translations: list[Translation]
    parts: int


class Translator:
    """The model of a run or of an exported folder, behind the preparation that its corpus went through.

    Args:
        folder: a run's folder, or one that `reluformer export` wrote.
        corpora: the folder of all prepared corpora; none: the one beside the folder of all runs. An exported folder
            holds what it needs of it.
        changes: keys of the translation configuration, instead of the run's own.

    Raises:
        SettingsError: there is no such model, it has diverged, its corpus is not there, or they do not fit.
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
        """Subwords of the longest source that is translated in one part: L of a document view, else twice the words of
        the longest training sentence. A model gives poor text far beyond what it was trained on."""

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """The translation of each sentence, every one on its own; of a blank one it is empty."""
        return [line.translations[0].text for line in self.lines(sentences)]

    def lines(self, lines: Sequence[str], n_best: int = 1) -> list[Line]:
        """The `n_best` best translations of each line, fewer where fewer were found.

        A line of more than `limit` subwords is translated in parts: its k-th translation joins the k-th of each part,
        and its score is their mean over tokens.
        """
        if n_best > self.settings.beam:
            raise SettingsError(f"n-best: {n_best}: more than the beam, {self.settings.beam}")
        sources = [self.text.ids([line]) for line in lines]
        parts = [self.text.parts(ids, self.limit, fill=self.documents) if ids else [] for ids in sources]
        found = iter(self.search([part for line in parts for part in line], n_best))
        return [self._line([next(found) for _ in line]) for line in parts]

    def search(self, sources: Sequence[list[int]], n_best: int) -> list[list[Hypothesis]]:
        """The `n_best` best hypotheses for each source, ids without EOS; none of them empty."""
        arrays = [np.array(source, dtype=np.int64) for source in sources]
        return translate_n_best(self.model, arrays, self.settings, n_best, self.device)

    def segments(self, segments: Sequence[Sequence[str]]) -> list[list[str]]:
        """The translation of segments of consecutive sentences of a document, as a document model reads them.

        Blank sentences are left out. How many sentences a translation has is for the model to say.
        """
        sources = [self.text.ids(segment) for segment in segments]
        found = iter(self.search([source for source in sources if source], 1))
        return [self._written(self.text.subword.sentences(next(found)[0].tokens)) if ids else [] for ids in sources]

    def _line(self, parts: Sequence[Sequence[Hypothesis]]) -> Line:
        if not parts:
            return Line([Translation("", 0.0)], 0)
        translations = []
        for hypotheses in zip(*parts, strict=False):
            sentences = [text for found in hypotheses for text in self.text.subword.sentences(found.tokens)]
            written = self._written(sentences if self.documents else [" ".join(sentences)])
            scores, tokens = [found.score for found in hypotheses], [len(found.tokens) + 1 for found in hypotheses]
            translations.append(Translation(" ".join(written), float(np.average(scores, weights=tokens))))
        return Line(translations, len(parts))

    def written(self, hypothesis: Hypothesis) -> str:
        """A hypothesis as text."""
        return " ".join(self._written(self.text.subword.sentences(hypothesis.tokens)))

    def _written(self, sentences: Sequence[str]) -> list[str]:
        return detokenise_all(sentences, self.config.tgt, recase=self.text.truecaser is not None)
