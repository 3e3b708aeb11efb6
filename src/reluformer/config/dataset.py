"""Where a corpus comes from and how it is prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from reluformer.config.changes import check_parts
from reluformer.config.evaluation import Tokenizer
from reluformer.config.settings import (
    Distinct,
    Language,
    SettingsError,
    Strict,
    load,
    nearest,
    refuse_clash,
    require_name,
)


class ArchiveConfig(Strict):
    """One file to fetch, by its published name."""

    name: str = Field(description="the file's published name; --config archives=DIR looks for it under DIR")
    urls: list[str] = Field(default=[], description="mirrors, tried in order")
    pip: str | None = Field(
        None, description="instead of urls: a requirement such as NAME==VERSION whose wheel pip downloads"
    )
    python: str | None = Field(None, description="with pip: the Python version of the wheel")
    sha256: str | None = Field(None, description="null: recorded at the first download and enforced from then on")
    members: dict[str, str] = Field(default_factory=dict, description="sha256 of files inside a tar archive")

    @model_validator(mode="after")
    def _one_source(self) -> ArchiveConfig:
        if "/" in self.name or self.name.startswith(".") or not self.name.isprintable() or not self.name.strip():
            raise ValueError("an archive's name is a plain file name")
        if self.name.endswith(".sha256"):
            raise ValueError("an archive's name must not end in .sha256, the suffix of its recorded checksum")
        if set(self.name) & set("{}"):
            raise ValueError("an archive's name must not contain braces, which Snakemake reads as wildcards")
        if self.pip and self.urls:
            raise ValueError("an archive has either urls or pip, not both")
        return self


class SidesConfig(Strict):
    """The two line-aligned files of a split, by the names of their archives."""

    src: str = Field(description="the source side")
    tgt: str = Field(description="the target side")


class HeldOutConfig(Strict):
    """Splits cut from a corpus that is published without them; whole documents if it has documents."""

    valid: float = Field(0.0, ge=0, lt=1, description="share of the corpus for validation")
    test: float = Field(0.0, ge=0, lt=1, description="share of the corpus for the test set")


class SegmentsConfig(Strict):
    """Document corpora: whole sentences packed into segments of at most L tokens."""

    packing: Distinct[Literal["within", "across"]] = Field(
        default=["within"], description="within documents, or across consecutive ones so that every segment is filled"
    )
    lengths: Distinct[int] = Field(description="L, in subword tokens of the longer side, <sent> marks included")


class SizesConfig(Strict):
    """The expected size of a corpus, which `reluformer plan` uses until the corpus is prepared."""

    train: int = Field(ge=1, description="sentence pairs")
    valid: int = Field(ge=1, description="sentence pairs")
    test: int = Field(ge=1, description="sentence pairs")
    src_tokens: float = Field(gt=0, description="mean subwords of a source sentence")
    tgt_tokens: float = Field(gt=0, description="mean subwords of a target sentence")
    sentences_per_document: float = Field(10.0, ge=1, description="document corpora: mean sentences of a document")


class ReaderTraits(NamedTuple):
    """What a reader finds in its archives beside training pairs."""

    splits: tuple[str, ...] = ()
    documents: bool = False


READER_TRAITS = {
    "homeassistant": ReaderTraits(documents=True),
    "iwslt14": ReaderTraits(splits=("test",)),
    "lines": ReaderTraits(),  # its `files` and `document_mark` say so
}


class CorpusConfig(Strict):
    """One parallel corpus, from its archives to token ids."""

    reader: Literal["homeassistant", "iwslt14", "lines"] = Field(description="how the archives are read")
    archives: list[ArchiveConfig] = Field(min_length=1, description="the files to fetch")
    files: dict[Literal["train", "valid", "test"], SidesConfig] = Field(
        default_factory=dict, description="reader lines: the files of each split, compressed or not, by archive name"
    )
    document_mark: str | None = Field(None, description="reader lines: the line before each document, e.g. <d>")
    held_out: HeldOutConfig = Field(
        HeldOutConfig(valid=0.0, test=0.0), description="splits cut from train, by document or by text"
    )
    valid_every: int | None = Field(None, ge=2, description="every n-th kept training pair is valid (fairseq: 23)")
    straighten: bool = Field(False, description="’ becomes ' in test text before tokenisation (fairseq's IWSLT14)")
    lowercase: bool = Field(False, description="lowercase after tokenisation")
    truecase: bool = Field(False, description="Moses truecasing, learned on the training text")
    min_words: int = Field(0, ge=0, description="pairs with fewer words on either side are dropped, in every split")
    max_tokens: int = Field(1000, ge=1, description="training pairs with more tokens on either side are dropped")
    max_ratio: float | None = Field(None, gt=1, description="training pairs with a larger length ratio are dropped")
    unique: bool = Field(False, description="drop repeated pairs; about 100 bytes of memory per pair")
    disjoint: bool = Field(
        False,
        description="drop training pairs with a side that is also in valid or test, and valid pairs with a side that "
        "is also in test; about 100 bytes of memory per held-out pair",
    )
    vocabulary: int = Field(10_000, ge=16, description="joint BPE vocabulary")
    licence: str | None = Field(None, description="the text's licence; models trained on it are released under it")
    documents: bool = Field(False, description="keep document borders")
    joined: int | None = Field(
        None,
        ge=2,
        description="join this many consecutive pairs into a document: long inputs without discourse",
    )
    segments: SegmentsConfig | None = Field(None, description="document corpora: the views to pack")
    limit: int | None = Field(None, ge=1, description="for tests: read only this many training pairs")
    limit_documents: int | None = Field(None, ge=1, description="for tests: read only this many documents")

    @model_validator(mode="after")
    def _consistent(self) -> CorpusConfig:
        names = [archive.name for archive in self.archives]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"archives: {repeated!r} is repeated: an archive's name is unique in its corpus")
        refuse_clash(names, "archives")
        if self.reader == "lines" and "train" not in self.files:
            raise ValueError("reader lines needs files.train")
        if self.reader != "lines" and (self.files or self.document_mark is not None):
            raise ValueError(f"files and document_mark are for reader lines, not {self.reader}")
        for split, sides in self.files.items():
            for side in (sides.src, sides.tgt):
                if side not in names:
                    raise ValueError(f"files.{split}: {side!r} is not the name of an archive")
        reader = READER_TRAITS[self.reader]
        for split in ("valid", "test"):
            published, cut = split in self.files or split in reader.splits, getattr(self.held_out, split)
            if published and cut:
                where = "files" if self.reader == "lines" else "the archives"
                raise ValueError(f"{split} is both in {where} and in held_out")
            if not (published or cut or (split == "valid" and self.valid_every)):
                raise ValueError(f"no {split} text: set files.{split} or held_out.{split}")
        has_marks = self.document_mark is not None or reader.documents
        unmarked = self.documents and not has_marks and not self.joined
        contradictions = {
            "segments need documents: true": self.segments is not None and not self.documents,
            "lowercase and truecase exclude each other": self.lowercase and self.truecase,
            "held_out leaves nothing to train on": self.held_out.valid + self.held_out.test >= 1,
            "valid_every would cut documents; use held_out": self.documents and self.valid_every,
            "joined needs documents: true and a corpus without document marks": (
                self.joined and (has_marks or not self.documents)
            ),
            "documents: reader lines needs document_mark or joined": self.reader == "lines" and unmarked,
            f"documents: reader {self.reader} reads none; set joined": self.reader != "lines" and unmarked,
        }
        if reasons := [reason for reason, contradicts in contradictions.items() if contradicts]:
            raise ValueError(reasons[0])
        return self


class Preparation(Strict):
    """The settings that determine a dataset's text and token ids: all but its recipe."""

    src: Language
    tgt: Language
    corpus: CorpusConfig

    @model_validator(mode="after")
    def _two_sides(self) -> Preparation:
        if self.src.casefold() == self.tgt.casefold() and self.corpus.reader != "lines":
            raise ValueError(f"src and tgt are the same language, but reader {self.corpus.reader} needs two")
        return self


class RecipeConfig(Strict):
    """Changes to a run's model, training and translation."""

    model: dict[str, Any] = Field(default_factory=dict, description="keys of the model configuration")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of the training configuration")
    translation: dict[str, Any] = Field(default_factory=dict, description="keys of the translation configuration")


class DatasetConfig(Strict):
    """A corpus and the recipe that trains on it."""

    renamed = {"choices": "`tuning.choices` in config.yaml"}

    title: str = Field(description="in tables and pages")
    src: Language = Field(description="language code of the source")
    tgt: Language = Field(description="language code of the target")
    corpus: CorpusConfig = Field(description="the text, and how it is prepared")
    redistribute: bool = Field(False, description="whether the text's licence lets an archive of results pass it on")
    tokenizer: Tokenizer | None = Field(None, description="sacreBLEU's; null: that of the target language")
    sizes: SizesConfig | None = Field(None, description="for `reluformer plan` until the corpus is prepared")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of the model configuration")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of the training configuration")
    translation: dict[str, Any] = Field(default_factory=dict, description="keys of the translation configuration")
    recipes: dict[str, RecipeConfig] = Field(
        default_factory=dict, description="named changes to model, training and translation"
    )

    def preparation(self) -> Preparation:
        """Returns the settings that the corpus depends on: all but the recipe."""
        return Preparation(src=self.src, tgt=self.tgt, corpus=self.corpus)


def read_datasets(
    names: Mapping[str, str], folder: Path, where: str
) -> tuple[dict[str, str], dict[str, DatasetConfig]]:
    """Reads the datasets of config.yaml.

    Args:
        names: role -> a name in `folder`/datasets, or the path of a .yaml file.
        folder: of the configuration.
        where: the prefix of error messages.

    Returns:
        The dataset's name by role, and the datasets by name.

    Raises:
        SettingsError: a dataset is unknown or invalid, two share a name, or a role is named like another's dataset.
    """
    where = f"{where}: datasets"
    files = {role: _dataset_file(name, folder) for role, name in names.items()}
    roles = {role: path.stem for role, path in files.items()}
    refuse_clash(roles.values(), where)
    by_name: dict[str, Path] = {}
    for role, path in files.items():
        other = by_name.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise SettingsError(f"{where}: {other} and {path} are both the dataset {path.stem!r}; rename one file")
        if role in roles.values() and roles[role] != role:
            raise SettingsError(f"{where}: {role!r} is both a role (of {roles[role]!r}) and a dataset's name")
        if not path.is_file():
            known = sorted(other.stem for other in path.parent.glob("*.yaml"))
            raise SettingsError(f"{where}.{role}: {names[role]!r}: unknown dataset{nearest(names[role], known)}")
        require_name(path.stem, f"{where}.{role}")
    return roles, {name: _read_dataset(path) for name, path in by_name.items()}


def _dataset_file(name: str, folder: Path) -> Path:
    path = Path(os.path.expanduser(name))  # noqa: PTH111  (also works without a home)
    return path if path.suffix in (".yaml", ".yml") else folder / "datasets" / f"{name}.yaml"


def _read_dataset(path: Path) -> DatasetConfig:
    """Reads a dataset's file and checks its recipes."""
    dataset = load(DatasetConfig, path)
    check_parts(dataset, str(path))
    for name, recipe in dataset.recipes.items():
        check_parts(recipe, f"{path}: recipes.{require_name(name, f'{path}: recipes')}")
    return dataset
