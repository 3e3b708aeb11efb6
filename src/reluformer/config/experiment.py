"""The whole experiment as data: datasets × systems × seeds, and the studies that need them.

A run is named `DATASET/SYSTEM/seedN`. A dataset's name may carry a segmentation (`europarl7@across-1024`), a system's
name may carry changes (`reluformer+gamma=0.5+recipe=sweep`, see `reluformer.config.changes`); `Experiment.resolve`
turns the three names into the full `RunConfig`. A run has one name, so two studies that need the same run share it.
Does not import torch or Snakemake.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from reluformer.config.changes import RECIPE_PARTS, apply_changes, canonical_changes, join_system, split_system
from reluformer.config.configfile import ExperimentConfig, check_datasets, dataset_file
from reluformer.config.dataset import DatasetConfig
from reluformer.config.memory import MemoryConfig
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.search.choice import in_effect, lay
from reluformer.config.search.searches import Tuning
from reluformer.config.settings import (
    SettingsError,
    Strict,
    load,
    merge,
    nearest,
    parse,
    read_yaml,
    refuse_clash,
    require_name,
)
from reluformer.config.studies import SENTENCE, StudyConfig
from reluformer.config.systems import SystemConfig


class Point(NamedTuple):
    """What a run is within a study: everything but the seed."""

    dataset: str
    system: str
    """The entry of the study's `systems`."""
    values: tuple[Any, ...]
    """Of the varied keys, in the study's order."""


class Experiment:
    """An experiment's configuration, read and checked: every mistake in it is a `SettingsError` at construction."""

    def __init__(self, config: Mapping[str, Any], folder: str | Path = "config", name: str = "config.yaml") -> None:
        self.folder = Path(folder)
        self.name = name
        self.config = parse(ExperimentConfig, config, name)
        for part, model in RECIPE_PARTS.items():
            parse(model, getattr(self.config, part), f"{name}: {part}")
        self.systems = self._read_systems()
        files = {role: dataset_file(file, self.folder) for role, file in self.config.datasets.items()}
        self.roles = {role: file.stem for role, file in files.items()}
        check_datasets(files, f"{name}: datasets")
        self.datasets = {file.stem: self._read_dataset(role, file) for role, file in files.items()}
        self.tuning = Tuning(self)
        self.studies = self._read_studies()
        self._names: dict[tuple[str, str], str] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}
        self._points = {study: self._expand(study) for study in self.studies}
        self._resolved: dict[Run, RunConfig] = {}
        for run in itertools.chain.from_iterable(self._points.values()):
            self._add(run)
        self.tuning.check_runs()

    @classmethod
    def from_files(cls, *files: str | Path, folder: str | Path | None = None) -> Experiment:
        """The experiment of one or more config files, later ones laid over earlier ones."""
        config: dict[str, Any] = {}
        for file in files:
            config = merge(config, read_yaml(file))
        return cls(config, folder or Path(files[0]).parent, str(files[-1]))

    @property
    def measured_study(self) -> str | None:
        """The study whose systems are measured instead of run, see `reluformer.benchmark`."""
        return next((name for name, study in self.studies.items() if study.measured), None)

    def measured_systems(self) -> list[RunConfig]:
        """The systems of the measured study, each as a run that is never made; none where there is no such study."""
        if self.measured_study is None:
            return []
        study = self.studies[self.measured_study]
        dataset = self.dataset_name(study)
        return [self.resolve(Run(dataset, system, 1)) for system in study.systems]

    @property
    def runs(self) -> dict[Run, RunConfig]:
        """Every run that some study needs, each once; a run that another starts from comes before it."""
        return self._resolved

    def beginnings(self, run: Run) -> list[Run]:
        """A run of the experiment after the runs that it begins with, the first of all first."""
        start = self._resolved[run].training.start_from
        return [*(self.beginnings(Run.parse(start)) if start else []), run]

    def _add(self, run: Run) -> None:
        if run not in self._resolved:
            config = self.resolve(run)
            if config.training.start_from is not None:
                self._add(Run.parse(config.training.start_from))
            self._resolved[run] = config

    def study_runs(self, study: str) -> list[Run]:
        """The runs of one study, in the order of its table."""
        return list(self._points[study])

    def study_points(self, study: str) -> dict[Run, Point]:
        """The runs of one study, in the order of its table, and what each is within the study."""
        return self._points[study]

    def dataset(self, name: str) -> DatasetConfig:
        """The dataset of a run, its segmentation ignored. Raises `SettingsError`."""
        base, _ = split_dataset(name)
        if base not in self.datasets:
            raise SettingsError(f"{self.name}: datasets: {base!r}: unknown dataset{nearest(base, self.datasets)}")
        return self.datasets[base]

    def summary(self) -> str:
        """How many runs of which system on which dataset, as a table for a person."""
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
        """The full configuration of a run from its three names. Raises `SettingsError`."""
        return self._resolve(run, ())

    def _resolve(self, run: Run, before: tuple[Run, ...]) -> RunConfig:
        """before: the runs that start from this one, directly or not."""
        canonical = self.canonical(run.dataset, run.system)
        if run.system != canonical:
            right = run._replace(system=canonical)
            raise SettingsError(f"run {run.path}: this run is named {right.path}; ask for it by that name")
        dataset = self.dataset(run.dataset)
        base, changes = split_system(run.system)
        config = RunConfig(
            dataset=run.dataset,
            system=run.system,
            seed=run.seed,
            src=dataset.src,
            tgt=dataset.tgt,
            **self._parsed(run.dataset, base, changes),
        )
        if pinned := self.tuning.pinned(run.dataset, base):
            config = config.model_copy(update={"tuned": in_effect(pinned, config.parts(), f"run {run.path}")})
        if config.training.start_from is None:
            return config
        start = self._start_of(run, config, (*before, run))
        return config.model_copy(update={"training": config.training.model_copy(update={"start_from": start.path})})

    def _start_of(self, run: Run, config: RunConfig, before: tuple[Run, ...]) -> Run:
        """The run whose weights `run` begins with, checked. Raises `SettingsError`."""
        start_from = config.training.start_from or ""
        where = f"run {run.path}: training.start_from: {start_from!r}"
        corpus, _ = split_dataset(run.dataset)
        base, changes = split_system(run.system)
        changes.pop("recipe", None)
        own = {"dataset": corpus, "system": join_system(base, changes), "seed": run.seed}
        try:
            start = Run.parse(start_from.format(**own))
        except (KeyError, IndexError, ValueError) as error:
            reason = error if isinstance(error, SettingsError) else "known are {dataset}, {system} and {seed}"
            raise SettingsError(f"{where}: {reason}") from None
        if split_dataset(start.dataset)[0] != corpus:
            raise SettingsError(f"{where}: a run starts from one of its own corpus, {corpus}: others have other words")
        start = start._replace(system=self.canonical(start.dataset, start.system))
        if start in before:
            raise SettingsError(f"{where}: {' starts from '.join(step.path for step in (*before, start))}")
        theirs, ours = self._resolve(start, before).model.shape(), config.model.shape()
        for key in (*ours, *theirs):
            if theirs.get(key) != ours.get(key):
                unlike = f"{key} is {theirs.get(key)} there and {ours.get(key)} here"
                raise SettingsError(f"{where}: the weights of {start.path} do not fit: {unlike}")
        return start

    def canonical(self, dataset: str, system: str) -> str:
        """The one name of a system with changes on a dataset: `reluformer+gamma=1.0` is `reluformer` where γ is 1
        anyway. Keys are in their shortest spelling and sorted, the recipe last. Raises `SettingsError`.
        """
        if (dataset, system) not in self._names:
            base, changes = split_system(system)
            if base not in self.systems:
                where = f"run {dataset}/{system}"
                raise SettingsError(f"{where}: system: {base!r}: unknown system{nearest(base, self.systems)}")
            self._names[dataset, system] = join_system(base, self._canonical(dataset, base, changes))
        return self._names[dataset, system]

    def _canonical(self, dataset: str, base: str, changes: dict[str, Any]) -> dict[str, Any]:
        if not changes:
            return {}
        changed = _plain(self._parsed(dataset, base, changes))
        recipe = {key: value for key, value in changes.items() if key == "recipe"}
        plain = self.tuning.hide(_plain(self._parsed(dataset, base, recipe)), dataset, base)
        where = f"run {dataset}/{join_system(base, changes)}"
        for key, value in changes.items():
            if "/" in str(value):
                raise SettingsError(f"{where}: {key}: a run's name holds no '/': make it a recipe of the dataset")
        own = {key: value for key, value in changes.items() if key != "recipe"}
        spelled = canonical_changes(own, plain, changed, where)
        if recipe and _plain(self._parsed(dataset, base, spelled)) != changed:
            return {**spelled, **recipe}
        return spelled

    def _parsed(self, dataset: str, base: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of a run, checked: the dataset's recipe, the system, config.yaml, the named recipe, the overrides,
        a pinned choice, and the changes in the name, each laid over those before it. Raises `SettingsError`.
        """
        name = join_system(base, changes)
        if (dataset, name) in self._parts:
            return self._parts[dataset, name]
        config = self.dataset(dataset)
        where = f"run {dataset}/{name}"
        parts: dict[str, Any] = {part: getattr(config, part) for part in RECIPE_PARTS}
        parts["model"] = merge(parts["model"], self.systems[base].memories())
        parts = merge(parts, {part: getattr(self.config, part) for part in RECIPE_PARTS})
        if (recipe := changes.get("recipe")) is not None:
            if recipe not in config.recipes:
                raise SettingsError(f"{where}: recipe: {recipe!r}: unknown recipe{nearest(recipe, config.recipes)}")
            parts = merge(parts, config.recipes[recipe])
        for override in self.config.overrides:
            if fnmatchcase(dataset, override.dataset) and fnmatchcase(name, override.system):
                parts = merge(parts, {part: getattr(override, part) for part in RECIPE_PARTS})
        own = {key: value for key, value in changes.items() if key != "recipe"}
        pinned = self.tuning.pinned(dataset, base)
        parts = lay(parts, pinned, own, where) if pinned else apply_changes(parts, own, where)
        parsed = {part: parse(model, parts[part], f"{where}: {part}") for part, model in RECIPE_PARTS.items()}
        return self._parts.setdefault((dataset, name), parsed)

    def _read_systems(self) -> dict[str, SystemConfig]:
        path = self.folder / "systems.yaml"
        systems = {}
        for name, data in read_yaml(path).items():
            require_name(name, f"{path}: systems")
            systems[name] = parse(SystemConfig, data, f"{path}: {name}")
            for place, memory in systems[name].memories().items():
                if place != "layers":
                    parse(MemoryConfig, memory, f"{path}: {name}: {place}")
        refuse_clash(systems, str(path))
        return systems

    def _read_dataset(self, role: str, path: Path) -> DatasetConfig:
        if not path.is_file():
            file = self.config.datasets[role]
            known = sorted(p.stem for p in path.parent.glob("*.yaml"))
            raise SettingsError(f"{self.name}: datasets.{role}: {file!r}: unknown dataset{nearest(file, known)}")
        require_name(path.stem, f"{self.name}: datasets.{role}")
        dataset = load(DatasetConfig, path)
        for part, model in RECIPE_PARTS.items():
            parse(model, getattr(dataset, part), f"{path}: {part}")
            for recipe, changes in dataset.recipes.items():
                require_name(recipe, f"{path}: recipes")
                if unknown := set(changes) - set(RECIPE_PARTS):
                    key = sorted(unknown)[0]
                    raise SettingsError(f"{path}: recipes.{recipe}: {key}: unknown key{nearest(key, RECIPE_PARTS)}")
                parse(model, changes.get(part, {}), f"{path}: recipes.{recipe}.{part}")
        return dataset

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
            if not isinstance(data[name], dict):
                raise SettingsError(f"{where}: expected a mapping of keys to values")
            study = parse(StudyConfig, data[name], where)
            for system in study.titles:
                if system not in study.systems:
                    hint = nearest(system, study.systems)
                    raise SettingsError(f"{where}: titles: {system!r}: not a system of the study{hint}")
            if change := self.config.studies.get(name):
                study = parse(StudyConfig, {**data[name], **change}, f"{self.name}: studies.{name}")
            self._check_study(study, where)
            studies[name] = study
        refuse_clash(studies, str(path))
        return studies

    def _chosen(self, studies: list[str]) -> list[str]:
        """The studies to build: those of `only`, those up to `stage`, those of all stages, or all."""
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
        """The runs that each stage adds to those before it; one stage without a name where there are none."""
        stages = self.config.stages or {"": list(self.studies)}
        added: dict[Run, str] = {}
        for stage, studies in stages.items():
            for study in studies:
                for run in itertools.chain.from_iterable(map(self.beginnings, self._points.get(study, ()))):
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
        """The dataset of a study by its name in config/datasets/."""
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


def _plain(parts: Mapping[str, Strict]) -> dict[str, Any]:
    return {part: model.model_dump() for part, model in parts.items()}


def _row(study: StudyConfig, point: Point) -> str:
    return join_system(point.system, dict(zip(study.vary, point.values, strict=True)))
