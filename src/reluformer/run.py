"""What a run is: dataset × system × seed, its names, and the configuration saved in its folder. No torch in here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reluformer.files import write_text
from reluformer.model.config import ModelConfig
from reluformer.settings import SettingsError, Strict, load
from reluformer.training.config import TrainingConfig
from reluformer.translation.config import TranslationConfig


class RunConfig(Strict):
    """Everything that decides a run; saved as config.yaml in the run's folder."""

    dataset: str
    system: str
    seed: int
    src: str
    tgt: str
    model: ModelConfig
    training: TrainingConfig
    translation: TranslationConfig

    def save(self, path: Path) -> None:
        """Writes the configuration as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def load(cls, folder: Path) -> RunConfig:
        """The configuration in a run's folder. Raises `SettingsError`."""
        return load(cls, folder / "config.yaml")


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
        """The run of `DATASET/SYSTEM/seedN`. Raises `SettingsError`."""
        match path.strip("/").split("/"):
            case [dataset, system, seed] if seed.removeprefix("seed").isdigit():
                return cls(dataset, system, int(seed.removeprefix("seed")))
        raise SettingsError(f"{path!r}: a run is named DATASET/SYSTEM/seedN, e.g. iwslt14/reluformer/seed1")


def split_dataset(name: str) -> tuple[str, str | None]:
    """`europarl7@across-1024` -> `("europarl7", "across-1024")`; a sentence dataset has no segmentation."""
    base, _, segments = name.partition("@")
    return base, segments or None


def split_system(name: str) -> tuple[str, dict[str, Any]]:
    """`reluformer+gamma=0.5` -> `("reluformer", {"gamma": 0.5})`."""
    base, *changes = name.split("+")
    pairs = (change.partition("=") for change in changes)
    return base, {key: yaml.safe_load(value) for key, _, value in pairs}
