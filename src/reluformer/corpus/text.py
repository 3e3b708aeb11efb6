"""The files that text is prepared with like its corpus; whether a run was trained with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from reluformer.config.run import EXPORT_FILE, RunConfig, corpora_of, read_export, run_status, side_names, split_dataset
from reluformer.config.settings import SettingsError, Strict, parse
from reluformer.corpus import CorpusError
from reluformer.corpus.subword import Subword
from reluformer.files import sha256

Side = Literal["src", "tgt"]
SUBWORD_FILE = "subword.model"
TRUECASER_FILES = {"src": "truecaser.txt", "tgt": "truecaser.tgt.txt"}
"""The truecasing models in an exported folder."""


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
