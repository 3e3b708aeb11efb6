"""The whole experiment as data: datasets × systems × seeds, and the studies that need them.

A run is named `DATASET/SYSTEM/seedN`. A dataset's name may carry a segmentation (`europarl7@across-1024`), a system's
name may carry changes (`reluformer+gamma=0.5+recipe=sweep`, see `reluformer.config.changes`); `Experiment.resolve`
turns the three names into the full `RunConfig`. A run has one name, so studies share runs.
Does not import torch or Snakemake.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field
from tabulate import tabulate

from reluformer.config.changes import RECIPE_PARTS, join_system, split_system
from reluformer.config.dataset import DatasetConfig, read_datasets
from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.resolution import Resolver
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.settings import (
    Distinct,
    Seed,
    SettingsError,
    Strict,
    merge,
    nearest,
    parse,
    read_yaml,
    refuse_clash,
    require_name,
)
from reluformer.config.studies import SENTENCE, StudyConfig, parse_study
from reluformer.config.systems import read_systems
from reluformer.config.tuning import Tuning, TuningConfig


class RunOverride(Strict):
    """Changes to the runs whose names match."""

    dataset: str = Field("*", description="a pattern of dataset names")
    system: str = Field("*", description="a pattern of system names")
    model: dict[str, Any] = Field(default_factory=dict, description="changes to their model")
    training: dict[str, Any] = Field(default_factory=dict, description="changes to their training")
    translation: dict[str, Any] = Field(default_factory=dict, description="changes to their translation")


def _none_of(value: object) -> object:
    """None for `false` and `null`, which Snakemake's --config passes as text."""
    return None if value in (False, "false", "null") else value


class ExperimentConfig(Strict):
    """config.yaml: which datasets, seeds and studies, and what to change in their recipes."""

    title: str = Field(description="of every page")
    toy: bool = Field(False, description="stamp every page as the toy configuration")
    datasets: dict[str, str] = Field(
        description="role in studies.yaml -> a name in config/datasets/, or the path of a .yaml file"
    )
    seeds: Distinct[Seed] = Field([1, 2, 3], min_length=1, description="a run of each system for each")
    only: Distinct[str] = Field(default=[], description="studies to build; empty is all of studies.yaml")
    stages: dict[str, Distinct[str]] = Field(
        default_factory=dict, description="studies by stage, in the order in which to build them"
    )
    stage: str | None = Field(None, description="build the studies up to and including this stage")
    studies: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to studies of studies.yaml, or additional studies"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="changes to every run's model")
    training: dict[str, Any] = Field(default_factory=dict, description="changes to every run's training")
    translation: dict[str, Any] = Field(default_factory=dict, description="changes to every run's translation")
    overrides: list[RunOverride] = Field(default=[], description="changes to the runs whose names match")
    tuning: Annotated[TuningConfig | None, BeforeValidator(_none_of)] = Field(
        None, description="the tuning of every system; null, or false on the command line: no tuning"
    )
    significance: SignificanceConfig = Field(
        default_factory=SignificanceConfig, description="samples of the tests between systems on one test set"
    )
    partial: bool = Field(False, description="tables and report from existing runs; nothing is trained")
    archives: str | None = Field(None, description="a folder searched for archives before the network")
    record: str | None = Field(
        None, description="a folder with recorded runs (`reluformer record`): those of the same settings count as done"
    )
    force: bool = Field(False, description="start even if it would take very long")


class Point(NamedTuple):
    """The place of a run in a study, without its seed."""

    dataset: str
    system: str
    """An entry of the study's `systems`."""
    values: tuple[Any, ...]
    """Of the varied keys, in the study's order."""


class Experiment:
    """An experiment's configuration; the constructor raises `SettingsError` for every mistake in it."""

    def __init__(self, config: Mapping[str, Any], folder: str | Path = "config", name: str = "config.yaml") -> None:
        self.folder = Path(folder)
        self.name = name
        self.config = parse(ExperimentConfig, config, name)
        for part, model in RECIPE_PARTS.items():
            parse(model, getattr(self.config, part), f"{name}: {part}")
        self.systems = read_systems(self.folder / "systems.yaml")
        self.roles, self.datasets = read_datasets(self.config.datasets, self.folder, name)
        self.tuning = Tuning(self)
        self.studies = self._read_studies()
        self._resolver = Resolver(self)
        self._points = {study: self._expand(study) for study in self.studies}
        self._resolved: dict[Run, RunConfig] = {}
        for run in itertools.chain.from_iterable(self._points.values()):
            self._add(run)
        self.tuning.check_runs()

    @classmethod
    def from_files(cls, *files: str | Path, folder: str | Path | None = None) -> Experiment:
        """Reads one or more config files; later ones update earlier ones."""
        config: dict[str, Any] = {}
        for file in files:
            config = merge(config, read_yaml(file))
        return cls(config, folder or Path(files[0]).parent, str(files[-1]))

    @property
    def measured_study(self) -> str | None:
        """The study whose systems are measured instead of run, see `reluformer.benchmark`."""
        return next((name for name, study in self.studies.items() if study.measured), None)

    def measured_systems(self) -> list[RunConfig]:
        """Returns the systems of the measured study as runs, which are never trained; [] without such a study."""
        if self.measured_study is None:
            return []
        study = self.studies[self.measured_study]
        dataset = self.dataset_name(study)
        return [self.resolve(Run(dataset, system, 1)) for system in study.systems]

    @property
    def runs(self) -> dict[Run, RunConfig]:
        """Every run that a study needs; a run comes after the one that it starts from."""
        return self._resolved

    def with_starts(self, run: Run) -> list[Run]:
        """Returns the runs that a run starts from, in order, and the run itself."""
        start = self._resolved[run].training.start_from
        return [*(self.with_starts(Run.parse(start)) if start else []), run]

    def _add(self, run: Run) -> None:
        if run not in self._resolved:
            config = self.resolve(run)
            if config.training.start_from is not None:
                self._add(Run.parse(config.training.start_from))
            self._resolved[run] = config

    def study(self, name: str) -> StudyConfig:
        """Returns a study of this configuration. Raises `SettingsError`."""
        if name not in self.studies:
            raise SettingsError(f"study: {name!r}: unknown study{nearest(name, self.studies)}")
        return self.studies[name]

    def study_runs(self, study: str) -> list[Run]:
        """Returns the runs of one study, in the order of its table."""
        return list(self._points[study])

    def study_points(self, study: str) -> dict[Run, Point]:
        """Returns the runs of one study, in the order of its table, with their places in it."""
        return self._points[study]

    def dataset(self, name: str) -> DatasetConfig:
        """Returns the dataset of a run, whose segmentation is ignored. Raises `SettingsError`."""
        base, _ = split_dataset(name)
        if base not in self.datasets:
            raise SettingsError(f"{self.name}: datasets: {base!r}: unknown dataset{nearest(base, self.datasets)}")
        return self.datasets[base]

    def summary(self) -> str:
        """Formats how many runs of each system there are on each dataset."""
        counts: dict[str, Counter[str]] = {}
        for run in self.runs:
            counts.setdefault(split_dataset(run.dataset)[0], Counter())[split_system(run.system)[0]] += 1
        datasets = list(counts)
        systems = list(dict.fromkeys(system for count in counts.values() for system in count))
        rows = [[system, *(counts[dataset][system] for dataset in datasets)] for system in systems]
        total = ["all systems", *(sum(counts[dataset].values()) for dataset in datasets)]
        seeds = ", ".join(map(str, self.config.seeds))
        table = tabulate([*rows, total], headers=[f"{len(self.runs)} runs (seeds {seeds})", *datasets])
        tuning = ""
        if searches := self.tuning.searches:
            runs = sum(search.budget for search in searches)
            seed = searches[0].run.seed
            tuning = f"{runs} tuning runs (seed {seed}) come first, more where a best value is at an edge\n"
        return f"{self.config.title}\n{table}\n{tuning}"

    def resolve(self, run: Run) -> RunConfig:
        """Returns the full configuration of a run from its three names. Raises `SettingsError`."""
        return self._resolver.resolve(run)

    def canonical(self, dataset: str, system: str) -> str:
        """Returns the one name of a system with changes on a dataset, see `Resolver`. Raises `SettingsError`."""
        return self._resolver.canonical(dataset, system)

    def _read_studies(self) -> dict[str, StudyConfig]:
        path = self.folder / "studies.yaml"
        data = read_yaml(path)
        data |= {name: study for name, study in self.config.studies.items() if name not in data and "title" in study}
        staged = itertools.chain.from_iterable(self.config.stages.values())
        for chosen in (*self.config.only, *self.config.studies, *staged):
            if chosen not in data:
                raise SettingsError(f"{self.name}: studies: {chosen!r}: unknown study{nearest(chosen, data)}")
        studies = {}
        for name in self._chosen(list(data)):
            where = f"{path}: {require_name(name, f'{path}: studies')}"
            study = parse_study(data[name], self.config.studies.get(name), where, f"{self.name}: studies.{name}")
            self._check_study(study, where)
            studies[name] = study
        refuse_clash(studies, str(path))
        return studies

    def _chosen(self, studies: list[str]) -> list[str]:
        """Returns the studies to build: those of `only`, up to `stage`, of all stages, or all."""
        config = self.config
        if config.only:
            return config.only
        if config.stage is not None and config.stage not in config.stages:
            raise SettingsError(
                f"{self.name}: stage: {config.stage!r}: unknown stage{nearest(config.stage, config.stages)}"
            )
        chosen = []
        for stage, names in config.stages.items():
            chosen += names
            if stage == config.stage:
                break
        return list(dict.fromkeys(chosen)) or studies

    def stage_runs(self) -> dict[str, list[Run]]:
        """Returns the runs that each stage adds to those before it; without stages, one without a name has them all."""
        stages = self.config.stages or {"": list(self.studies)}
        added: dict[Run, str] = {}
        for stage, studies in stages.items():
            for study in studies:
                for run in itertools.chain.from_iterable(map(self.with_starts, self._points.get(study, ()))):
                    added.setdefault(run, stage)
        return {stage: [run for run, first in added.items() if first == stage] for stage in stages}

    def _check_study(self, study: StudyConfig, where: str) -> None:
        for system in study.systems:
            if split_system(system)[0] not in self.systems:
                raise SettingsError(f"{where}: systems: {system!r}: unknown system{nearest(system, self.systems)}")
        roles = [*self.config.datasets, *self.datasets]
        if study.dataset not in roles:
            raise SettingsError(f"{where}: dataset: {study.dataset!r}: unknown dataset{nearest(study.dataset, roles)}")
        segments = self.datasets[self.dataset_name(study)].corpus.segments
        if segments is None and (study.lengths or study.packing):
            raise SettingsError(f"{where}: lengths: {study.lengths}: {study.dataset!r} is not a document dataset")
        if segments is not None:
            for key, valid in (("lengths", segments.lengths), ("packing", segments.packing)):
                for value in getattr(study, key):
                    if value not in (*valid, SENTENCE):
                        raise SettingsError(f"{where}: {key}: {value!r}: the dataset has {list(valid)}")

    def dataset_name(self, study: StudyConfig) -> str:
        """Returns the name in config/datasets/ of a study's dataset."""
        return self.roles.get(study.dataset, study.dataset)

    def _expand(self, name: str) -> dict[Run, Point]:
        study = self.studies[name]
        if study.measured:
            return {}
        dataset = self.dataset_name(study)
        segments = self.datasets[dataset].corpus.segments
        views = [dataset]
        if segments is not None and (study.packing or study.lengths):
            packings, lengths = study.packing or segments.packing[:1], study.lengths or segments.lengths
            names = {length: f"@{{}}-{length}" if length != SENTENCE else "" for length in lengths}
            views = [dataset + names[length].format(packing) for packing in packings for length in lengths]
        recipe = {"recipe": study.recipe} if study.recipe in self.datasets[dataset].recipes else {}
        points: dict[Run, Point] = {}
        for view, entry, values in itertools.product(views, study.systems, itertools.product(*study.vary.values())):
            base, changes = split_system(entry)
            changes = {**changes, **recipe, **dict(zip(study.vary, values, strict=True))}
            if view == dataset and SENTENCE in study.lengths:  # once for all packings and recipes
                changes.pop("recipe", None)
                pairs = zip(study.vary, values, strict=True)
                values = tuple(None if key == "recipe" else value for key, value in pairs)
            try:
                system = self.canonical(view, join_system(base, changes))
            except SettingsError as error:
                raise SettingsError(f"{self.folder / 'studies.yaml'}: {name}: {error}") from None
            point = Point(view, entry, values)
            for seed in study.seeds or self.config.seeds:
                run = Run(view, system, seed)
                if points.setdefault(run, point) != point:
                    raise SettingsError(
                        f"{self.folder / 'studies.yaml'}: {name}: {run.path} is two rows of one study: "
                        f"{_row(study, points[run])} and {_row(study, point)}"
                    )
        return points


def _row(study: StudyConfig, point: Point) -> str:
    return join_system(point.system, dict(zip(study.vary, point.values, strict=True)))
