"""From a run's names to its full configuration, and the one name of a system with changes."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from reluformer.config.changes import RECIPE_PARTS, Parts, apply_changes, canonical_changes, join_system, split_system
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.settings import SettingsError, Strict, merge, nearest, parse

if TYPE_CHECKING:
    from reluformer.config.experiment import Experiment


class Resolver:
    """Resolves the runs of an experiment, whose datasets, systems and tuning have been read."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._names: dict[tuple[str, str], str] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}

    def resolve(self, run: Run, before: tuple[Run, ...] = ()) -> RunConfig:
        """Returns the full configuration of a run. Raises `SettingsError`.

        before: the runs that start from this one, directly or not.
        """
        canonical = self.canonical(run.dataset, run.system)
        if run.system != canonical:
            right = run._replace(system=canonical)
            raise SettingsError(f"run {run.path}: this run is named {right.path}; ask for it by that name")
        dataset = self.experiment.dataset(run.dataset)
        base, changes = split_system(run.system)
        config = RunConfig(
            dataset=run.dataset,
            system=run.system,
            seed=run.seed,
            src=dataset.src,
            tgt=dataset.tgt,
            **self._parsed(run.dataset, base, changes),
        )
        if config.training.start_from is None:
            return config
        start = self._start_of(run, config, (*before, run))
        return config.model_copy(update={"training": config.training.model_copy(update={"start_from": start.path})})

    def _start_of(self, run: Run, config: RunConfig, before: tuple[Run, ...]) -> Run:
        """Returns the run whose weights `run` starts with, checked. Raises `SettingsError`."""
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
        theirs, ours = self.resolve(start, before).model.shape(), config.model.shape()
        for key in (*ours, *theirs):
            if theirs.get(key) != ours.get(key):
                unlike = f"{key} is {theirs.get(key)} there and {ours.get(key)} here"
                raise SettingsError(f"{where}: the weights of {start.path} do not fit: {unlike}")
        return start

    def canonical(self, dataset: str, system: str) -> str:
        """Returns the one name of a system with changes on a dataset: `reluformer+gamma=1.0` is `reluformer` if γ is 1
        anyway. Keys are in their shortest spelling and sorted, the recipe last. Raises `SettingsError`.
        """
        if (dataset, system) not in self._names:
            base, changes = split_system(system)
            if base not in self.experiment.systems:
                where = f"run {dataset}/{system}"
                raise SettingsError(
                    f"{where}: system: {base!r}: unknown system{nearest(base, self.experiment.systems)}"
                )
            self._names[dataset, system] = join_system(base, self._canonical(dataset, base, changes))
        return self._names[dataset, system]

    def _canonical(self, dataset: str, base: str, changes: dict[str, Any]) -> dict[str, Any]:
        if not changes:
            return {}
        changed = _plain(self._parsed(dataset, base, changes))
        recipe = {key: value for key, value in changes.items() if key == "recipe"}
        plain = self.experiment.tuning.hide(_plain(self._parsed(dataset, base, recipe)), dataset, base)
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
        """Returns the parsed parts of a run: the dataset's recipe, updated by the system, config.yaml, the named
        recipe, the overrides, and the changes in the name. Raises `SettingsError`.
        """
        name = join_system(base, changes)
        if (dataset, name) in self._parts:
            return self._parts[dataset, name]
        config = self.experiment.dataset(dataset)
        where = f"run {dataset}/{name}"
        parts: Parts = {part: getattr(config, part) for part in RECIPE_PARTS}
        parts = merge(parts, {"model": self.experiment.systems[base].memories()})
        parts = merge(parts, {part: getattr(self.experiment.config, part) for part in RECIPE_PARTS})
        if (recipe := changes.get("recipe")) is not None:
            if recipe not in config.recipes:
                raise SettingsError(f"{where}: recipe: {recipe!r}: unknown recipe{nearest(recipe, config.recipes)}")
            parts = merge(parts, config.recipes[recipe])
        for override in self.experiment.config.overrides:
            if fnmatchcase(dataset, override.dataset) and fnmatchcase(name, override.system):
                parts = merge(parts, {part: getattr(override, part) for part in RECIPE_PARTS})
        own = {key: value for key, value in changes.items() if key != "recipe"}
        parts = apply_changes(parts, own, where)
        parsed = {part: parse(model, parts[part], f"{where}: {part}") for part, model in RECIPE_PARTS.items()}
        return self._parts.setdefault((dataset, name), parsed)


def _plain(parts: Mapping[str, Strict]) -> dict[str, Any]:
    return {part: model.model_dump() for part, model in parts.items()}
