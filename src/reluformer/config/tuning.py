"""Equal tuning: which systems are tuned on which dataset, and which runs use the choice of which search.

A choice (the tuned values) is applied when a training starts, so it is an input file of the run, not a parameter.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from reluformer.config.changes import Parts, apply_changes, join_system, paths_of, read_path, split_system
from reluformer.config.run import ChoiceConfig, Run, RunConfig, split_dataset
from reluformer.config.search import Search, expected_rounds
from reluformer.config.settings import Seed, SettingsError, Strict, nearest

if TYPE_CHECKING:
    from reluformer.config.experiment import Experiment

NOT_KNOWN = "(tuned)"
"""Stands for a value that a search determines; no change in a run's name equals it."""
Values = list[bool | int | float | str | None]
Grid = dict[str, dict[str, Values] | str]


class TuningConfig(Strict):
    """The tuning runs: every system gets the same number of them, ranked by validation BLEU."""

    seed: Seed = Field(1000, description="of all tuning runs and of no other run")
    recipe: str | None = Field(
        None,
        description="a recipe of the dataset for the tuning runs, shorter and with validate_bleu; a dataset "
        "without it is not tuned",
    )
    datasets: dict[str, str] = Field(
        description="role -> the role on which its systems are tuned; a role left out uses its recipe untuned"
    )
    grid: Grid = Field(
        description="system -> key -> values to try, one key after the other; a numeric key whose best value is at the "
        "edge gets more values; or the name of a system whose choice to use; if several patterns such as `*` match, "
        "the longest applies"
    )
    choices: dict[str, str] = Field(
        default_factory=dict,
        description="system -> the file of an earlier choice (`results/tuning/DATASET/SYSTEM.json`, or a record's) to "
        "use without tuning runs",
    )

    @field_validator("grid")
    @classmethod
    def _has_values(cls, grid: Grid) -> Grid:
        for system, axes in grid.items():
            for key, values in axes.items() if isinstance(axes, dict) else ():
                if not values or len(set(map(repr, values))) < len(values):
                    raise ValueError(f"{system}: {key}: expected distinct values, found {values}")
        return grid


def read_choice(path: Path) -> ChoiceConfig:
    """Reads the choice of a search; it is empty if all of its runs diverged.

    Raises:
        SettingsError: the file is missing, or not written by a search.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        unfinished, choice = data["next"], data["choice"] or {"changes": {}, "validation_bleu": None}
        read = ChoiceConfig(changes=choice["changes"], source=str(path), validation_bleu=choice["validation_bleu"])
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; `snakemake --cores all {path}` makes it") from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}: not a choice written by `reluformer tune`") from None
    if unfinished:
        raise SettingsError(f"{path}: the search has not ended: {unfinished[0]} has not been trained")
    return read


def apply_choice(run: RunConfig, choice: ChoiceConfig) -> RunConfig:
    """Returns `run` with a choice's values, unless its own name changes them; `tuned` has those in effect."""
    where = f"run {run.dataset}/{run.system}"
    changes = split_system(run.system).own
    parts: Parts = run.parts()
    for key, value in choice.changes.items():
        try:
            parts = apply_changes(parts, {key: value}, f"{where}: choice of {choice.source}")
        except SettingsError:
            if not changes:
                raise  # otherwise the run's own changes may have removed the key
    tuned = run.with_parts(apply_changes(parts, changes, where), where)
    parts = tuned.parts()

    def in_effect(key: str, value: Any) -> bool:
        with contextlib.suppress(SettingsError):
            return all(read_path(parts, path) == value for path in paths_of(key, parts, where))
        return False

    effective = {key: value for key, value in choice.changes.items() if in_effect(key, value)}
    return tuned.model_copy(update={"tuned": choice.model_copy(update={"changes": effective})})


class Tuning:
    """The tuning of an experiment.

    Args:
        experiment: its datasets and systems must have been read; `check_runs` checks its runs.

    Raises:
        SettingsError: there is a mistake in `tuning`.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.config = experiment.config.tuning or TuningConfig(datasets={}, grid={})
        self.roles, self.systems = experiment.roles, experiment.systems
        self._searches: dict[tuple[str, str], Search] = {}
        for role, source in self.config.datasets.items():
            where = f"{experiment.name}: tuning.datasets.{role}"
            for name in (role, source):
                if name not in self.roles:
                    raise SettingsError(f"{where}: {name!r}: unknown role{nearest(name, self.roles)}")
            if self.config.datasets.get(source) != source:
                raise SettingsError(f"{where}: {source!r} is not tuned itself: add `{source}: {source}`")
        for pattern, entry in self.config.grid.items():
            where = f"{experiment.name}: tuning.grid"
            if not any(fnmatchcase(system, pattern) for system in self.systems):
                raise SettingsError(f"{where}: {pattern!r}: unknown system{nearest(pattern, self.systems)}")
            if isinstance(entry, str) and entry not in self.systems:
                raise SettingsError(f"{where}.{pattern}: {entry!r}: unknown system{nearest(entry, self.systems)}")
            if isinstance(entry, str) and isinstance(self._entry(entry), str):
                raise SettingsError(f"{where}.{pattern}: {entry!r} has no choice of its own")
        self._pinned: dict[str, ChoiceConfig] = {}
        for system, file in self.config.choices.items():
            if system not in self.systems:
                raise SettingsError(
                    f"{experiment.name}: tuning.choices: {system!r}: unknown system{nearest(system, self.systems)}"
                )
            self._pinned[system] = read_choice(Path(file))

    def source(self, dataset: str) -> str | None:
        """Returns the dataset on which the systems of a run's dataset are tuned; None if they are not."""
        base = split_dataset(dataset)[0]
        roles = [role for role, name in self.roles.items() if name == base and role in self.config.datasets]
        if not roles:
            return None
        source = self.roles[self.config.datasets[roles[0]]]
        # a dataset without the tuning recipe is not tuned
        return source if self.config.recipe in (None, *self.experiment.datasets[source].recipes) else None

    def _entry(self, system: str) -> Mapping[str, list[Any]] | str:
        """Returns the grid of a system, or the system whose choice it uses; {} if it is not tuned."""
        patterns = [pattern for pattern in self.config.grid if fnmatchcase(system, pattern)]
        longest = max(patterns, key=lambda pattern: (pattern == system, len(pattern)), default=None)
        return {} if longest is None else self.config.grid[longest]

    def owner(self, system: str) -> str:
        """Returns the system whose choice a system (without changes) uses: itself, or the one that the grid names."""
        entry = self._entry(system)
        return entry if isinstance(entry, str) else system

    def axes(self, dataset: str, system: str) -> Mapping[str, list[Any]]:
        """Returns the grid of a system (without changes) on a dataset's source; {} if there is no search."""
        entry = self._entry(self.owner(system))
        tuned = self.source(dataset) is not None and not self.pinned(dataset, system)
        return entry if tuned and isinstance(entry, dict) else {}

    def pinned(self, dataset: str, system: str) -> ChoiceConfig | None:
        """Returns the earlier choice that a system (without changes) uses on a dataset, if any."""
        return self._pinned.get(self.owner(system)) if self.source(dataset) is not None else None

    def choice_file(self, run: Run, results: Path) -> Path | None:
        """Returns the file of the choice that a run uses when its training starts, if any."""
        base = split_system(self.experiment.canonical(run.dataset, run.system)).base
        if self.takes(run) and (pinned := self.pinned(run.dataset, base)):
            return Path(pinned.source)
        search = self.search_for(run)
        return None if search is None else results / search.path

    def hide(self, parts: Parts, dataset: str, system: str) -> Parts:
        """Returns `parts` with `NOT_KNOWN` for tuned values, so that names that set such a key keep it."""
        pinned = self.pinned(dataset, system)
        hidden = dict.fromkeys(pinned.changes if pinned else self.axes(dataset, system), NOT_KNOWN)
        return apply_changes(parts, hidden, f"{self.experiment.name}: tuning.grid.{system}")

    def search(self, dataset: str, system: str) -> Search | None:
        """Returns the search of a system (without changes) for a dataset, if any. Raises `SettingsError`."""
        name = self.owner(self.experiment.canonical(dataset, system))
        axes, source = self.axes(dataset, name), self.source(dataset)
        if not axes or source is None:
            return None
        if (source, name) not in self._searches:
            recipe = {"recipe": self.config.recipe} if self.config.recipe else {}
            start = self.experiment.canonical(source, join_system(name, recipe))
            run = self.experiment.resolve(Run(source, start, self.config.seed))
            keys = [self._spelled(source, name, key, values[0]) for key, values in axes.items()]
            search = Search(run=run, axes=list(zip(keys, axes.values(), strict=True)))
            self._check(search)
            self._searches[source, name] = search
        return self._searches[source, name]

    def search_for(self, run: Run) -> Search | None:
        """Returns the search whose choice a run uses when its training starts, if any."""
        return self.search(run.dataset, split_system(run.system).base) if self.takes(run) else None

    def _spelled(self, dataset: str, system: str, key: str, value: Any) -> str:
        """Returns a key as spelled in the names of runs."""
        name = self.experiment.canonical(dataset, join_system(system, {key: value}))
        return next(iter(split_system(name).changes))

    def _check(self, search: Search) -> None:
        if not search.run.training.validate_bleu:
            recipe = f"recipes.{self.config.recipe}.training" if self.config.recipe else "training"
            raise SettingsError(
                f"{search.where}: runs are ranked by validation BLEU, so set `validate_bleu: true` in {recipe} of "
                "the dataset"
            )
        for key, values in search.axes:
            for value in values:
                search.resolve({**search.start, key: value})
        for (dataset, system), other in self._searches.items():
            if dataset == search.run.dataset and other.budget != search.budget:
                raise SettingsError(
                    f"{self.experiment.name}: tuning.grid: {search.system} has {search.budget} runs and {system} "
                    f"{other.budget}: every system needs the same number (after the first key, the system's own value "
                    "costs no run)"
                )

    def takes(self, run: Run) -> bool:
        """Returns whether a run uses a choice; tuning runs do not."""
        return not self.config.datasets or run.seed != self.config.seed

    def tries(self, run: Run) -> bool:
        """Returns whether a run belongs to a search."""
        return any(search.tries(run) for search in self.searches)

    def check_runs(self) -> None:
        """Raises `SettingsError` if a study's run has the seed of the tuning runs, or its search has a mistake."""
        for run in self.experiment.runs:
            if not self.takes(run):
                raise SettingsError(f"{self.experiment.name}: tuning.seed: {run.seed}: {run.path} also has this seed")
            self.search_for(run)

    @property
    def searches(self) -> list[Search]:
        """The searches requested so far: those of the studies' runs, and others by `search`."""
        return list(self._searches.values())

    def runs(self, results: Path | None = None) -> dict[Run, RunConfig]:
        """Returns the runs of all searches, see `expected_rounds`."""
        rounds = [runs for search in self.searches for runs in expected_rounds(search, results)]
        return {run: config for runs in rounds for run, config in runs.items()}
