"""A run: dataset × system × seed, its name, and its saved configuration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, model_validator

from reluformer.config.changes import RECIPE_PARTS
from reluformer.config.memory import MemoryConfig
from reluformer.config.model import ModelConfig
from reluformer.config.settings import Language, Seed, SettingsError, Strict, load, nearest, parse
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.files import write_text

EXPORT_FILE = "config.json"
"""The configuration of an exported model, under Hugging Face's name for it."""


class ChoiceConfig(Strict):
    """The tuned values of a run, and the file that they come from."""

    changes: dict[str, bool | int | float | str | None] = Field(description="key -> value")
    source: str = Field(description="the file of the search, e.g. results/tuning/iwslt14/reluformer.json")
    validation_bleu: float | None = Field(None, description="of the run that was chosen")


class RunConfig(Strict):
    """Everything that determines a run; saved as config.yaml in the run's folder."""

    dataset: str
    system: str
    seed: Seed
    src: Language
    tgt: Language
    model: ModelConfig
    training: TrainingConfig
    translation: TranslationConfig
    tuned: ChoiceConfig | None = Field(None, description="the tuned values that the run uses, if any")

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, data: Any) -> Any:
        return {**data, "model": _renamed(data["model"])} if isinstance(data, dict) and "model" in data else data

    def parts(self) -> dict[str, Any]:
        """Returns model, training and translation as plain mappings, see `reluformer.config.changes`."""
        return {part: getattr(self, part).model_dump() for part in RECIPE_PARTS}

    def with_parts(self, parts: Mapping[str, Any], where: str) -> RunConfig:
        """Returns the run with other parts. Raises `SettingsError`; `where` begins its message."""
        return self.model_copy(
            update={part: parse(model, parts[part], f"{where}: {part}") for part, model in RECIPE_PARTS.items()}
        )

    def with_vocabulary(self, size: int) -> RunConfig:
        """Returns the run with a model of `size` subwords."""
        return self.model_copy(update={"model": self.model.model_copy(update={"vocabulary": size})})

    def save(self, path: Path) -> None:
        """Writes the configuration as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> RunConfig:
        """Reads the configuration in the folder of a run or of an exported model. Raises `SettingsError`."""
        if not folder.is_dir():
            siblings = [path.parent.name for path in folder.parent.glob("*/config.*")]
            raise SettingsError(f"{folder}: there is no such run or exported model{nearest(folder.name, siblings)}")
        if (exported := read_export(folder)) is not None:
            return parse(cls, exported["run"], f"{folder / EXPORT_FILE}: run")
        return load(cls, folder / "config.yaml")


def _renamed(model: Any) -> Any:
    """Returns a saved model with the present names of a memory's keys."""
    if not isinstance(model, dict):
        return model
    return {MemoryConfig.renamed.get(key, key): _renamed(value) for key, value in model.items()}


class Run(NamedTuple):
    """One training: dataset × system × seed."""

    dataset: str
    system: str
    seed: int

    @property
    def path(self) -> str:
        """The run's folder under results/runs/."""
        return f"{self.dataset}/{self.system}/seed{self.seed}"

    @classmethod
    def parse(cls, path: str) -> Run:
        """Parses `DATASET/SYSTEM/seedN`. Raises `SettingsError`."""
        match path.strip("/").split("/"):
            case [dataset, system, seed] if re.fullmatch("(seed)?[0-9]+", seed):
                return cls(dataset, system, int(seed.removeprefix("seed")))
        raise SettingsError(f"{path!r}: a run is named DATASET/SYSTEM/seedN, e.g. iwslt14/reluformer/seed1")


def read_summary(run_folder: Path) -> dict[str, Any] | None:
    """Reads a run's summary.json; None if the run has not been trained to its end. Raises `SettingsError`."""
    return _read(run_folder / "summary.json", "the summary of a run", {"status": object})


def run_status(run_folder: Path) -> str:
    """Returns `status` in a run's summary.json. Raises `SettingsError` if there is none."""
    if (summary := read_summary(run_folder)) is None:
        path = run_folder / "summary.json"
        raise SettingsError(f"{path}: there is no such file; the run has not been trained to its end")
    return str(summary["status"])


def read_export(folder: Path) -> dict[str, Any] | None:
    """Reads an exported model's config.json, with `run` and `text`; None for a run. Raises `SettingsError`."""
    return _read(folder / EXPORT_FILE, "the configuration of an exported model", {"run": dict, "text": dict})


def _read(path: Path, what: str, types: dict[str, type]) -> dict[str, Any] | None:
    """Reads a JSON file that has keys with values of these types; None if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(
        key in content and isinstance(content[key], types[key]) for key in types
    ):
        raise SettingsError(f"{path}: not {what}")
    return content


def side_names(src: str, tgt: str) -> tuple[str, str]:
    """Returns the suffixes of a corpus's two sides: `raw/test.de`, `raw/test.en`.

    A suffix is the language; if both are the same, as in simplification, the source's is `source.LANGUAGE`.
    """
    return (f"source.{src}" if src.casefold() == tgt.casefold() else src), tgt


def corpora_of(run_folder: Path) -> Path:
    """Returns the folder of prepared corpora next to a run: results/runs/DATASET/SYSTEM/seedN -> results/corpora."""
    # First relative to the given path, then to its target: results/runs may be a link to another disk.
    for folder in (Path(os.path.abspath(run_folder)), run_folder.resolve()):  # noqa: PTH100  (keeps links)
        corpora = (folder.parents[3] if len(folder.parents) > 3 else folder) / "corpora"
        if corpora.is_dir():
            break
    return corpora


def split_dataset(name: str) -> tuple[str, str | None]:
    """Splits `europarl7@across-1024` into `("europarl7", "across-1024")`; sentences have no segmentation."""
    base, _, segments = name.partition("@")
    return base, segments or None
