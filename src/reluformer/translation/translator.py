"""A trained run as a translator: text as people write it in, text as people write it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reluformer.corpus import moses
from reluformer.corpus.subword import SENT
from reluformer.corpus.truecase import Truecaser
from reluformer.evaluation.detokenise import detokenise_all
from reluformer.model.files import load_model
from reluformer.run import split_dataset
from reluformer.settings import SettingsError
from reluformer.translation.decode import translate
from reluformer.translation.step import load_subword, run_status


class Translator:
    """The model of a run, behind the preparation that its corpus went through.

    Raises:
        SettingsError: the run has no model, has diverged, or its corpus is not there.
    """

    def __init__(self, run_folder: Path, corpora: Path, device: torch.device | str = "cpu") -> None:
        if run_status(run_folder) == "diverged":
            raise SettingsError(f"{run_folder}: the training diverged: there is no model that could translate")
        self.model, self.config = load_model(run_folder, device)
        self.device = device
        self.subword = load_subword(corpora, self.config.dataset)
        corpus = corpora / split_dataset(self.config.dataset)[0]
        preparation = _preparation(corpus / "provenance.json")
        self.lowercase: bool = preparation["lowercase"]
        self.straighten: bool = preparation["straighten"]
        self.truecaser = Truecaser(corpus / f"truecase.{self.config.src}") if preparation["truecase"] else None

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """The translation of each sentence, every one on its own; of a blank one it is empty."""
        return [" ".join(translation) for translation in self.segments([[sentence] for sentence in sentences])]

    def segments(self, segments: Sequence[Sequence[str]]) -> list[list[str]]:
        """The translation of segments of consecutive sentences of a document, as a document model reads them.

        Blank sentences are left out. How many sentences a translation has is for the model to say.
        """
        sources = [self._ids(segment) for segment in segments]
        filled = [index for index, source in enumerate(sources) if len(source)]
        found = translate(self.model, [sources[index] for index in filled], self.config.translation, self.device)
        translations: list[list[str]] = [[] for _ in segments]
        for index, hypothesis in zip(filled, found, strict=True):
            tokenised = self.subword.sentences(hypothesis.tokens)
            translations[index] = detokenise_all(tokenised, self.config.tgt, recase=self.truecaser is not None)
        return translations

    def _ids(self, segment: Sequence[str]) -> np.ndarray:
        """Subword ids of a segment's sentences, SENT between them."""
        ids: list[int] = []
        for sentence in self.subword.encode([self._tokenise(sentence) for sentence in segment]):
            if len(sentence):
                ids += [SENT, *sentence] if ids else list(sentence)
        return np.array(ids, dtype=np.int64)

    def _tokenise(self, sentence: str) -> str:
        if self.straighten:
            sentence = sentence.replace("’", "'")
        tokens = moses.tokenizer(self.config.src)(sentence).strip()
        if self.lowercase:
            return moses.lowercase(tokens)
        return tokens if self.truecaser is None else self.truecaser(tokens)


def _preparation(provenance: Path) -> dict[str, Any]:
    """How a corpus was prepared: the configuration in its provenance.json."""
    try:
        return json.loads(provenance.read_text(encoding="utf-8"))["configuration"]
    except FileNotFoundError:
        raise SettingsError(f"{provenance}: there is no such file; the corpus has not been prepared") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise SettingsError(f"{provenance}: not the provenance of a corpus") from None
