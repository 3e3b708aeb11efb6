"""Text as people write it -> subword ids, by the preparation that a corpus went through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from reluformer.config.run import EXPORT_FILE, RunConfig, corpora_of, read_export, run_status, side_names, split_dataset
from reluformer.config.settings import SettingsError, Strict, parse
from reluformer.corpus.errors import CorpusError
from reluformer.corpus.moses import lowercase, tokenizer
from reluformer.corpus.pairs import is_blank
from reluformer.corpus.subword import SENT, Subword
from reluformer.corpus.truecase import Truecaser
from reluformer.files import sha256

Side = Literal["src", "tgt"]
SUBWORD_FILE = "subword.model"
TRUECASER_FILES = {"src": "truecaser.txt", "tgt": "truecaser.tgt.txt"}
"""The truecasing models of both sides in an exported folder."""
SENTENCE_ENDS = frozenset(("▁.", "▁?", "▁!", "▁…"))


class TextConfig(Strict):
    """The part of a corpus's preparation that any text has to go through, and what its models have seen."""

    lowercase: bool
    truecase: bool
    straighten: bool
    max_tokens: int = Field(ge=1, description="words of the longest training sentence, after tokenisation")

    @classmethod
    def of_corpus(cls, corpus: Path) -> TextConfig:
        """That of a prepared corpus. Raises `CorpusError`."""
        path = corpus / "provenance.json"
        configuration = read_provenance(corpus)["configuration"]
        return parse(cls, {key: value for key, value in configuration.items() if key in cls.model_fields}, str(path))


def read_provenance(corpus: Path) -> dict[str, Any]:
    """provenance.json of a prepared corpus. Raises `CorpusError`."""
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
    """The subword model of a run's dataset. Raises `CorpusError`."""
    return Subword(corpora / split_dataset(dataset)[0] / SUBWORD_FILE)


class TextFiles(NamedTuple):
    """What preparing text takes: the subword model, one side's truecasing model (if at all), the configuration."""

    subword: Path
    truecaser: Path
    config: TextConfig


def text_of_corpus(corpus: Path, side: str) -> TextFiles:
    """What a prepared corpus has of it for one of its sides, by `side_names`. Raises `CorpusError`."""
    return TextFiles(corpus / SUBWORD_FILE, corpus / f"truecase.{side}", TextConfig.of_corpus(corpus))


def find_text(folder: Path, run: RunConfig, corpora: Path | None, side: Side = "src") -> TextFiles:
    """How the text of a model is prepared.

    folder: a run's, or one that `reluformer export` wrote. run: its configuration. corpora: the folder of all prepared
    corpora; none: the one beside the folder of all runs. Raises `SettingsError`, also where the run has diverged.
    """
    exported = read_export(folder)
    if exported is not None:
        config = parse(TextConfig, exported["text"], f"{folder / EXPORT_FILE}: text")
        return TextFiles(folder / SUBWORD_FILE, folder / TRUECASER_FILES[side], config)
    if run_status(folder) == "diverged":
        raise SettingsError(f"{folder}: the training diverged: there is no model that could translate")
    name = side_names(run.src, run.tgt)[side == "tgt"]
    return text_of_corpus((corpora or corpora_of(folder)) / split_dataset(run.dataset)[0], name)


def require_trained_with(folder: Path, subword: Path) -> None:
    """Raises `CorpusError` if the run in `folder` was trained with another subword model: its corpus is another now.

    Ids of another model are other words, of which no number gives a sign. An exported folder says nothing of it.
    """
    try:
        trained = json.loads((folder / "summary.json").read_text(encoding="utf-8")).get("data", {})
    except FileNotFoundError:
        return
    before = next((found for name, found in trained.items() if name.endswith(f"/{SUBWORD_FILE}")), None)
    if before is not None and before != sha256(subword):
        raise CorpusError(
            f"{subword}: not the subword model that {folder} was trained with, so they do not belong together: the "
            "corpus was prepared anew since; train the run again"
        )


class Preprocessor:
    """One side of a preparation: tokenised, lowercased or truecased, in subwords.

    language: that of the side whose truecasing model is in `files`.

    Raises `CorpusError` where a file is missing or is something else.
    """

    def __init__(self, files: TextFiles, language: str) -> None:
        self.config = files.config
        self.language = language
        self.subword = Subword(files.subword)
        self.truecaser = Truecaser(files.truecaser) if files.config.truecase else None

    def tokenise(self, sentence: str) -> str:
        """The tokens of a sentence, joined by spaces, cased as the corpus is; "" of a blank one."""
        if is_blank(sentence):
            return ""
        if self.config.straighten:
            sentence = sentence.replace("’", "'")
        tokens = tokenizer(self.language)(sentence).strip()
        if self.config.lowercase:
            return lowercase(tokens)
        return tokens if self.truecaser is None else self.truecaser(tokens)

    def ids(self, segment: Sequence[str]) -> list[int]:
        """The subword ids of consecutive sentences, SENT between them, blank ones left out."""
        ids: list[int] = []
        for sentence in self.subword.encode([self.tokenise(sentence) for sentence in segment]):
            if len(sentence):
                ids += [SENT, *sentence] if ids else sentence
        return ids

    def parts(self, ids: list[int], limit: int, fill: bool) -> list[list[int]]:
        """`ids` in parts of at most `limit`; all of them where they are no more.

        They are cut wherever a sentence ends, and a sentence that is too long between words if possible. fill: put
        as many parts together again as fit, for models that read more than a sentence.
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
