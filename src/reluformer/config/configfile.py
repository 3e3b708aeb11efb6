"""What the YAML files of an experiment hold: config.yaml, systems.yaml, datasets/*.yaml. Does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.fields import Distinct
from reluformer.config.settings import Seed, SettingsError, Strict, refuse_clash
from reluformer.config.tuning import TuningConfig


class RunOverride(Strict):
    """Changes to the runs whose names match."""

    dataset: str = Field("*", description="a pattern of dataset names")
    system: str = Field("*", description="a pattern of system names")
    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    translation: dict[str, Any] = Field(default_factory=dict)


def _none_of(value: object) -> object:
    """None for what says so on the command line, where Snakemake hands over text."""
    return None if value in (False, "false", "null") else value


class ExperimentConfig(Strict):
    """config.yaml: which datasets, seeds and studies, and what to change in their recipes."""

    title: str
    toy: bool = Field(False, description="stamp every page as the toy configuration")
    datasets: dict[str, str] = Field(
        description="role in studies.yaml -> a name in config/datasets/, or the path of a .yaml file"
    )
    seeds: Distinct[Seed] = Field([1, 2, 3], min_length=1)
    only: Distinct[str] = Field(default=[], description="studies to build; empty is all of studies.yaml")
    stages: dict[str, Distinct[str]] = Field(
        default_factory=dict, description="studies in the order in which they are worth having, by the name of a stage"
    )
    stage: str | None = Field(None, description="build the studies up to and including this stage")
    studies: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to studies of studies.yaml, or a study more"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="changes to every run's model")
    training: dict[str, Any] = Field(default_factory=dict, description="changes to every run's training")
    translation: dict[str, Any] = Field(default_factory=dict, description="changes to every run's translation")
    overrides: list[RunOverride] = Field(default=[], description="changes to the runs whose names match")
    tuning: Annotated[TuningConfig | None, BeforeValidator(_none_of)] = Field(
        None, description="the tuning of every system; null, or false on the command line: none"
    )
    significance: SignificanceConfig = Field(
        default_factory=SignificanceConfig, description="samples of the tests between systems on one test set"
    )
    partial: bool = Field(False, description="tables and report from the runs that are there; nothing is trained")
    archives: str | None = Field(None, description="a folder searched for archives before the network")
    record: str | None = Field(
        None, description="a folder with recorded runs (`reluformer record`): those of the same settings count as done"
    )
    force: bool = Field(False, description="start even where it would take very long")


def dataset_file(name: str, folder: Path) -> Path:
    """The file of a dataset: the path of a .yaml file, or a name in `folder`/datasets."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111  (works without a home, too)
    return path if path.suffix in (".yaml", ".yml") else folder / "datasets" / f"{name}.yaml"


def check_datasets(files: Mapping[str, Path], where: str) -> None:
    """Raises `SettingsError` if two files have one name, the dataset's, or a role has the name of another's dataset."""
    names = {role: file.stem for role, file in files.items()}
    by_name: dict[str, Path] = {}
    for role, file in files.items():
        other = by_name.setdefault(file.stem, file)
        if other.resolve() != file.resolve():
            raise SettingsError(f"{where}: {other} and {file} are both the dataset {file.stem!r}; rename one file")
        if role in names.values() and names[role] != role:
            raise SettingsError(f"{where}: {role!r} is both a role, of {names[role]!r}, and a dataset's name")
    refuse_clash(names.values(), where)
