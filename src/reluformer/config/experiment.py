"""The whole experiment as data: datasets × systems × seeds, and the studies that need them.

A run is named `DATASET/SYSTEM/seedN`. A dataset's name may carry a segmentation (`europarl7@across-1024`), a system's
name may carry changes (`reluformer+gamma=0.5+recipe=sweep`, see `reluformer.config.changes`); `Experiment.resolve`
turns the three names into the full `RunConfig`. A run has one name, so studies share runs.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field
from tabulate import tabulate

from reluformer.config.changes import (
    RECIPE_PARTS,
    Name,
    apply_changes,
    canonical_changes,
    check_parts,
    join_system,
    parts_of,
    split_system,
)
from reluformer.config.claims import ClaimConfig
from reluformer.config.dataset import DatasetConfig, RecipeConfig, read_datasets
from reluformer.config.evaluation import SignificanceConfig
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


class RunOverride(RecipeConfig):
    """Changes to the runs whose names match."""

    dataset: str = Field("*", description="a pattern of dataset names")
    system: str = Field("*", description="a pattern of system names")


class ExperimentConfig(Strict):
    """config.yaml: which datasets, seeds and studies, and what to change in their recipes."""

    title: str = Field(description="of every page")
    toy: bool = Field(False, description="stamp every page as the toy configuration")
    datasets: dict[str, str] = Field(
        default_factory=dict,
        description="role in studies.yaml -> a name in config/datasets/, or the path of a .yaml file",
    )
    seeds: Distinct[Seed] = Field([1, 2, 3], min_length=1, description="every system is trained with each")
    only: Distinct[str] = Field(default=[], description="studies to build; empty is all of studies.yaml")
    stages: dict[str, Distinct[str]] = Field(
        default_factory=dict, description="studies by stage, in the order in which to build them"
    )
    stage: str | None = Field(None, description="build the studies up to and including this stage")
    studies: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to studies of studies.yaml, or additional studies"
    )
    claims: dict[str, ClaimConfig] = Field(
        default_factory=dict, description="claims in addition to those of claims.yaml, e.g. of additional studies"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="changes to every run's model")
    training: dict[str, Any] = Field(default_factory=dict, description="changes to every run's training")
    translation: dict[str, Any] = Field(default_factory=dict, description="changes to every run's translation")
    overrides: list[RunOverride] = Field(default=[], description="changes to the runs whose names match")
    tuning: Annotated[TuningConfig | None, BeforeValidator(lambda value: None if value is False else value)] = Field(
        None, description="the tuning of every system; null, or false on the command line: no tuning"
    )
    significance: SignificanceConfig = Field(
        default_factory=SignificanceConfig, description="samples of the tests between systems on one test set"
    )
    partial: bool = Field(False, description="tables and report from existing runs; nothing is trained")
    archives: str | None = Field(None, description="a folder searched for archives before the network")
    record: str | None = Field(
        None, description="a folder of recorded runs (`reluformer record`): those with the same settings count as done"
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
        check_parts(self.config, name)
        self.systems = read_systems(self.folder / "systems.yaml")
        self.roles, self.datasets = read_datasets(self.config.datasets, self.folder, name)
        self.tuning = Tuning(self)
        self.studies = self._read_studies()
        self._names: dict[tuple[str, str], str] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}
        self._points = {study: self._expand(study) for study in self.studies}
        self.runs: dict[Run, RunConfig] = {}
        """Every run that a study needs; a run comes after the one that it starts from."""
        for run in itertools.chain.from_iterable(self._points.values()):
            self._add(run)
        self.tuning.check_runs()

    @classmethod
    def from_files(cls, *files: str | Path) -> Experiment:
        """Reads one or more config files of a folder; later ones update earlier ones."""
        return cls(functools.reduce(merge, map(read_yaml, files)), Path(files[0]).parent, str(files[-1]))

    @property
    def measured_study(self) -> str | None:
        """The study whose systems are measured instead of trained, see `reluformer.benchmark`."""
        return next((name for name, study in self.studies.items() if study.measured), None)

    def with_starts(self, run: Run) -> list[Run]:
        """Returns the runs that a run starts from, in order, and the run itself."""
        start = self.runs[run].training.start_from
        return [*(self.with_starts(Run.parse(start)) if start else []), run]

    def _add(self, run: Run) -> None:
        if run not in self.runs:
            config = self.resolve(run)
            if config.training.start_from is not None:
                self._add(Run.parse(config.training.start_from))
            self.runs[run] = config

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
        """Returns a run's dataset by its name, with or without segmentation. Raises `SettingsError`."""
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
        runs = sum(search.budget for search in self.tuning.searches)
        first = f"{runs} tuning runs (seed {self.tuning.config.seed}) come first, more if a best value is at an edge\n"
        tuning = first if runs else ""
        return f"{self.config.title}\n{table}\n{tuning}"

    def resolve(self, run: Run, before: tuple[Run, ...] = ()) -> RunConfig:
        """Returns the full configuration of a run. Raises `SettingsError`.

        before: the runs that start from this one, directly or not.
        """
        canonical = self.canonical(run.dataset, run.system)
        if run.system != canonical:
            right = run._replace(system=canonical)
            raise SettingsError(f"run {run.path}: this run is named {right.path}; use that name")
        dataset, name = self.dataset(run.dataset), split_system(run.system)
        parts = self._parsed(run.dataset, name.base, name.changes)
        config = RunConfig(**run._asdict(), src=dataset.src, tgt=dataset.tgt, **parts)
        if config.training.start_from is None:
            return config
        start = self._start_of(run, config, (*before, run))
        return config.model_copy(update={"training": config.training.model_copy(update={"start_from": start.path})})

    def _start_of(self, run: Run, config: RunConfig, before: tuple[Run, ...]) -> Run:
        """Returns the run whose weights `run` starts with, checked. Raises `SettingsError`."""
        start_from = config.training.start_from or ""
        where = f"run {run.path}: training.start_from: {start_from!r}"
        corpus, name = split_dataset(run.dataset)[0], split_system(run.system)
        own = {"dataset": corpus, "system": join_system(name.base, name.own), "seed": run.seed}
        try:
            start = Run.parse(start_from.format(**own))
        except (KeyError, IndexError, ValueError) as error:
            reason = error if isinstance(error, SettingsError) else "known are {dataset}, {system} and {seed}"
            raise SettingsError(f"{where}: {reason}") from None
        if split_dataset(start.dataset)[0] != corpus:
            raise SettingsError(f"{where}: a run can only start from one on its own corpus, {corpus}")
        start = start._replace(system=self.canonical(start.dataset, start.system))
        if start in before:
            raise SettingsError(f"{where}: {' starts from '.join(step.path for step in (*before, start))}")
        theirs, ours = self.resolve(start, before).model.shape(), config.model.shape()
        for key in (*ours, *theirs):
            if theirs.get(key) != ours.get(key):
                difference = f"{key} is {theirs.get(key)} there and {ours.get(key)} here"
                raise SettingsError(f"{where}: the weights of {start.path} do not fit: {difference}")
        return start

    def canonical(self, dataset: str, system: str) -> str:
        """Returns the one name of a system with changes on a dataset: `reluformer+gamma=1.0` is `reluformer` if γ is 1
        anyway. Keys are in their shortest spelling and sorted, the recipe last. Raises `SettingsError`.
        """
        if (dataset, system) not in self._names:
            name, where = split_system(system), f"run {dataset}/{system}"
            if name.base not in self.systems:
                raise SettingsError(f"{where}: system: {name.base!r}: unknown system{nearest(name.base, self.systems)}")
            changes = self._canonical(dataset, name, where) if name.changes else {}
            self._names[dataset, system] = join_system(name.base, changes)
        return self._names[dataset, system]

    def _canonical(self, dataset: str, name: Name, where: str) -> dict[str, Any]:
        changed = _plain(self._parsed(dataset, name.base, name.changes))
        plain = self.tuning.hide(_plain(self._parsed(dataset, name.base, name.recipe)), dataset, name.base)
        for key, value in name.changes.items():
            if "/" in str(value):
                raise SettingsError(f"{where}: {key}: a run's name cannot contain '/': use a recipe of the dataset")
        changes = canonical_changes(name.own, plain, changed, where)
        if name.recipe and _plain(self._parsed(dataset, name.base, changes)) != changed:
            return changes | name.recipe
        return changes

    def _parsed(self, dataset: str, base: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Returns the parsed parts of a run: the dataset's recipe, updated by the system, config.yaml, the named
        recipe, the overrides, and the changes in the name. Raises `SettingsError`.
        """
        name = join_system(base, changes)
        if (dataset, name) in self._parts:
            return self._parts[dataset, name]
        config, where = self.dataset(dataset), f"run {dataset}/{name}"
        layers = [parts_of(config), {"model": self.systems[base].memories()}, parts_of(self.config)]
        if (recipe := changes.get("recipe")) is not None:
            if recipe not in config.recipes:
                raise SettingsError(f"{where}: recipe: {recipe!r}: unknown recipe{nearest(recipe, config.recipes)}")
            layers.append(parts_of(config.recipes[recipe]))
        for override in self.config.overrides:
            if fnmatchcase(dataset, override.dataset) and fnmatchcase(name, override.system):
                layers.append(parts_of(override))
        parts = apply_changes(functools.reduce(merge, layers), Name(base, changes).own, where)
        parsed = {part: parse(model, parts[part], f"{where}: {part}") for part, model in RECIPE_PARTS.items()}
        return self._parts.setdefault((dataset, name), parsed)

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
        if (last := config.stage) is not None and last not in config.stages:
            raise SettingsError(f"{self.name}: stage: {last!r}: unknown stage{nearest(last, config.stages)}")
        chosen = []
        for stage, names in config.stages.items():
            chosen += names
            if stage == last:
                break
        return list(dict.fromkeys(chosen)) or studies

    def stage_runs(self) -> dict[str, list[Run]]:
        """Returns the runs that each stage adds to the earlier ones; without stages, all runs under the name ""."""
        added: dict[str, list[Run]] = {}
        before: set[Run] = set()
        for stage, studies in (self.config.stages or {"": list(self.studies)}).items():
            points = [point for study in studies for point in self._points.get(study, ())]
            runs = dict.fromkeys(run for point in points for run in self.with_starts(point))
            added[stage] = [run for run in runs if run not in before]
            before |= runs.keys()
        return added

    def _check_study(self, study: StudyConfig, where: str) -> None:
        titles: dict[str, str] = {}
        for system in study.systems:
            base, changes = split_system(system)
            if base not in self.systems:
                raise SettingsError(f"{where}: systems: {system!r}: unknown system{nearest(system, self.systems)}")
            title = study.titles.get(system, f"{self.systems[base].title}{changes or ''}")
            if other := titles.get(title):
                raise SettingsError(f"{where}: titles: {other} and {system} have the same title, {title!r}")
            titles[title] = system
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
                        f"{self.folder / 'studies.yaml'}: {name}: {run.path} is in two rows of the study: "
                        f"{_row(study, points[run])} and {_row(study, point)}"
                    )
        return points


def _row(study: StudyConfig, point: Point) -> str:
    return join_system(point.system, dict(zip(study.vary, point.values, strict=True)))


def _plain(parts: Mapping[str, Strict]) -> dict[str, Any]:
    return {part: model.model_dump() for part, model in parts.items()}
