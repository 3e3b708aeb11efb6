"""Prepares text like a corpus: finds the files needed, checks that a run was trained with them, encodes raw text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from reluformer.config.run import EXPORT_FILE, RunConfig, corpora_of, read_export, run_status, side_names, split_dataset
from reluformer.config.settings import SettingsError, Strict, parse
from reluformer.corpus import CorpusError
from reluformer.corpus.moses import Truecaser, tokenise
from reluformer.corpus.subword import SENT, Subword
from reluformer.files import sha256

Side = Literal["src", "tgt"]
SUBWORD_FILE = "subword.model"
TRUECASER_FILES = {"src": "truecaser.txt", "tgt": "truecaser.tgt.txt"}
"""The truecasing models in an exported folder."""
SENTENCE_ENDS = frozenset(("▁.", "▁?", "▁!", "▁…"))


class TextConfig(Strict):
    """The part of a corpus's preparation that applies to any text."""

    lowercase: bool
    truecase: bool
    straighten: bool
    max_tokens: int = Field(ge=1, description="words of the longest training sentence, after tokenisation")


def read_provenance(corpus: Path) -> dict[str, Any]:
    """Returns provenance.json of a prepared corpus. Raises `CorpusError`."""
    path = corpus / "provenance.json"
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(f"{path}: there is no such file; the corpus has not been prepared") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        provenance = None
    if not isinstance(provenance, dict) or not isinstance(provenance.get("configuration"), dict):
        raise CorpusError(f"{path}: not the provenance of a corpus")
    return provenance


def load_subword(corpora: Path, dataset: str) -> Subword:
    """Returns the subword model of a run's dataset. Raises `CorpusError`."""
    return Subword(corpora / split_dataset(dataset)[0] / SUBWORD_FILE)


class TextFiles(NamedTuple):
    """The files that prepare one side's text: subword model, truecasing model (with `truecase`), configuration."""

    subword: Path
    truecaser: Path
    config: TextConfig


def text_of_corpus(corpus: Path, side: str) -> TextFiles:
    """Returns the files of a prepared corpus for a side of `side_names`. Raises `CorpusError`."""
    configuration = read_provenance(corpus)["configuration"]
    applied = {key: value for key, value in configuration.items() if key in TextConfig.model_fields}
    config = parse(TextConfig, applied, str(corpus / "provenance.json"))
    return TextFiles(corpus / SUBWORD_FILE, corpus / f"truecase.{side}", config)


def find_text(folder: Path, run: RunConfig, corpora: Path | None, side: Side = "src") -> TextFiles:
    """Returns the files that prepare a model's text.

    folder: of a run, or written by `reluformer export`. run: its configuration. corpora: the folder of prepared
    corpora, by default the one next to the folder of runs. Raises `SettingsError`, also if the run diverged.
    """
    exported = read_export(folder)
    if exported is not None:
        config = parse(TextConfig, exported["text"], f"{folder / EXPORT_FILE}: text")
        return TextFiles(folder / SUBWORD_FILE, folder / TRUECASER_FILES[side], config)
    if run_status(folder) == "diverged":
        raise SettingsError(f"{folder}: the training diverged: it has no model to translate with")
    name = side_names(run.src, run.tgt)[side == "tgt"]
    return text_of_corpus((corpora or corpora_of(folder)) / split_dataset(run.dataset)[0], name)


def require_trained_with(folder: Path, subword: Path) -> None:
    """Raises `CorpusError` if the run in `folder` was trained with another subword model.

    Its ids would stand for other words, which no score would reveal. Exported folders are not checked.
    """
    try:
        trained = json.loads((folder / "summary.json").read_text(encoding="utf-8")).get("data", {})
    except FileNotFoundError:
        return
    expected = next((digest for name, digest in trained.items() if name.endswith(f"/{SUBWORD_FILE}")), None)
    if expected is not None and expected != sha256(subword):
        raise CorpusError(
            f"{subword}: not the subword model that {folder} was trained with, so they do not belong together: the "
            "corpus was prepared again since; train the run again"
        )


class Preprocessor:
    """Tokenises text, lowercases or truecases it, and encodes it in subwords.

    language: of the side that `files` belong to. Raises `CorpusError` if a file is missing or damaged.
    """

    def __init__(self, files: TextFiles, language: str) -> None:
        self.config = files.config
        self.language = language
        self.subword = Subword(files.subword)
        try:
            self.truecaser = Truecaser(files.truecaser) if files.config.truecase else None
        except (FileNotFoundError, UnicodeDecodeError):
            raise CorpusError(f"{files.truecaser}: not a truecasing model; the corpus has not been prepared") from None

    def tokenise(self, sentence: str) -> str:
        """Returns the tokens of a sentence, joined by spaces and cased like the corpus; "" for a blank one."""
        config = self.config
        tokens = tokenise(sentence, self.language, lower=config.lowercase, straighten=config.straighten).strip()
        return tokens if self.truecaser is None else self.truecaser(tokens)

    def ids(self, segment: Sequence[str]) -> list[int]:
        """Returns the subword ids of consecutive sentences with SENT between them, without blank ones."""
        ids: list[int] = []
        for sentence in self.subword.encode([self.tokenise(sentence) for sentence in segment]):
            if len(sentence):
                ids += [SENT, *sentence] if ids else sentence
        return ids

    def parts(self, ids: list[int], limit: int, fill: bool) -> list[list[int]]:
        """Splits `ids` into parts of at most `limit`, if they are longer.

        Cuts at the end of each sentence, and a sentence that is too long between words if possible. fill: whether to
        join as many parts as fit, for models that read more than a sentence.
        """
        if len(ids) <= limit:
            return [ids]
        parts: list[list[int]] = []
        names = self.subword.pieces(ids)
        first = 0
        while first < len(ids):
            last = min(first + limit, len(ids))
            ends = (i + 1 for i in range(first, last) if names[i] in SENTENCE_ENDS)
            words = (i for i in range(last, first, -1) if i == len(ids) or names[i].startswith("▁"))
            cut = next(ends, None) or next(words, last)
            if fill and parts and len(parts[-1]) + cut - first <= limit:
                parts[-1] = parts[-1] + ids[first:cut]
            else:
                parts.append(ids[first:cut])
            first = cut
        return parts
