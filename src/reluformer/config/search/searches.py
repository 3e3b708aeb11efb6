"""Which systems are tuned on which dataset, and which runs take whose choice; every mistake in it is found here."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reluformer.config.changes import apply_change, join_system, split_system
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.search.choice import read_choice
from reluformer.config.search.rounds import Search, expected_rounds
from reluformer.config.settings import SettingsError, nearest
from reluformer.config.tuning import ChoiceConfig

if TYPE_CHECKING:
    from reluformer.config.experiment import Experiment

NOT_KNOWN = "(tuned)"
"""Stands for a value that a search decides: no change in a run's name equals it."""


class Tuning:
    """The tuning of an experiment.

    Args:
        experiment: with its datasets and systems read; its runs are looked at by `check_runs`.

    Raises:
        SettingsError: for a mistake in `tuning`, or in a dataset's `choices`.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.config = experiment, experiment.config.tuning
        self.roles, self.datasets, self.systems = experiment.roles, experiment.datasets, experiment.systems
        self.where = experiment.name
        self._searches: dict[tuple[str, str], Search] = {}
        for name, dataset in self.datasets.items():
            for system, choice in dataset.choices.items():
                where = f"dataset {name}: choices.{system}"
                if system not in self.systems:
                    raise SettingsError(f"{where}: unknown system{nearest(system, self.systems)}")
                _check_pin(choice, where)
        if self.config is None:
            return
        for role, source in self.config.datasets.items():
            where = f"{self.where}: tuning.datasets.{role}"
            for one in (role, source):
                if one not in self.roles:
                    raise SettingsError(f"{where}: {one!r}: unknown role{nearest(one, self.roles)}")
            if self.config.datasets.get(source) != source:
                raise SettingsError(f"{where}: {source!r} is not tuned itself: add `{source}: {source}`")
        for pattern, entry in self.config.grid.items():
            where = f"{self.where}: tuning.grid"
            if not any(fnmatchcase(system, pattern) for system in self.systems):
                raise SettingsError(f"{where}: {pattern!r}: unknown system{nearest(pattern, self.systems)}")
            if isinstance(entry, str) and entry not in self.systems:
                raise SettingsError(f"{where}.{pattern}: {entry!r}: unknown system{nearest(entry, self.systems)}")
            if isinstance(entry, str) and isinstance(self._entry(entry), str):
                raise SettingsError(f"{where}.{pattern}: {entry!r} has no choice of its own")

    def source(self, dataset: str) -> str | None:
        """The dataset on which the systems of a run's dataset are tuned; None where they are not."""
        base = split_dataset(dataset)[0]
        roles = [role for role, name in self.roles.items() if name == base and role in self._roles]
        source = self.roles[self._roles[roles[0]]] if roles else None
        if source is None or self.config is None or self.config.recipe in (None, *self.datasets[source].recipes):
            return source
        return None  # a dataset without the tuning recipe trains with its own recipe as it is

    def owner(self, system: str) -> str:
        """The system whose choice a system (without changes) takes: itself, or the one that the grid names."""
        entry = self._entry(system)
        return entry if isinstance(entry, str) else system

    def pinned(self, dataset: str, system: str) -> ChoiceConfig | None:
        """The choice made before for a system (without changes): the dataset's own, or that of its source."""
        for name in (split_dataset(dataset)[0], self.source(dataset)):
            for one in (system, self.owner(system)):
                if name is not None and one in self.datasets[name].choices:
                    return self.datasets[name].choices[one]
        return None

    def axes(self, dataset: str, system: str) -> Mapping[str, list[Any]]:
        """The grid that is searched for a system (without changes) on a dataset's source; {}: there is no search."""
        if self.config is None or self.source(dataset) is None or self.pinned(dataset, system) is not None:
            return {}
        entry = self._entry(self.owner(system))
        return entry if isinstance(entry, dict) else {}

    def hide(self, parts: Mapping[str, Any], dataset: str, system: str) -> dict[str, Any]:
        """`parts` with `NOT_KNOWN` for what a search decides: a name that sets such a key keeps it."""
        hidden = dict(parts)
        for key in self.axes(dataset, system):
            hidden = apply_change(hidden, key, NOT_KNOWN, f"{self.where}: tuning.grid.{system}")
        return hidden

    def search(self, dataset: str, system: str) -> Search | None:
        """The search of a system (without changes) for a dataset; None where there is none. Raises `SettingsError`."""
        name = self.owner(self.experiment.canonical(dataset, system))
        axes, source = self.axes(dataset, name), self.source(dataset)
        if not axes or source is None or self.config is None:
            return None
        if (source, name) not in self._searches:
            recipe = {"recipe": self.config.recipe} if self.config.recipe in self.datasets[source].recipes else {}
            start = self.experiment.canonical(source, join_system(name, recipe))
            run = self.experiment.resolve(Run(source, start, self.config.seed))
            keys = [self._spelled(source, name, key, values[0]) for key, values in axes.items()]
            self._searches[source, name] = self._checked(
                Search(run=run, axes=list(zip(keys, axes.values(), strict=True)))
            )
        return self._searches[source, name]

    def search_for(self, run: Run) -> Search | None:
        """The search whose choice a run takes when its training starts; None for a run that takes none."""
        return self.search(run.dataset, split_system(run.system).base) if self.takes(run) else None

    def _spelled(self, dataset: str, system: str, key: str, value: Any) -> str:
        """A key as runs' names have it."""
        name = self.experiment.canonical(dataset, join_system(system, {key: value}))
        return next(iter(split_system(name).changes))

    def _checked(self, one: Search) -> Search:
        if not one.run.training.measures_bleu:
            recipe = f"recipes.{self.config.recipe}.training" if self.config and self.config.recipe else "training"
            raise SettingsError(
                f"{one.where}: runs are ranked by validation BLEU, which is measured with `validate_bleu: true`: "
                f"set it in {recipe} of the dataset"
            )
        for key, values in one.axes:
            for value in values:
                one.resolve({**one.start, key: value})
        for (dataset, system), other in self._searches.items():
            if dataset == one.run.dataset and other.budget != one.budget:
                raise SettingsError(
                    f"{self.where}: tuning.grid: {one.system} has {one.budget} runs and {system} {other.budget}: "
                    "every system needs as many (of a later key, the value that the system has anyway costs no run)"
                )
        return one

    def takes(self, run: Run) -> bool:
        """Whether a run takes a choice: tuning runs do not."""
        return self.config is None or run.seed != self.config.seed

    def check_runs(self) -> None:
        """Raises `SettingsError` where a study's run has the seed of the tuning runs, or its search is a mistake."""
        for run in self.experiment.runs:
            if not self.takes(run):
                raise SettingsError(f"{self.where}: tuning.seed: {run.seed}: {run.path} has this seed, too")
            self.search_for(run)

    @property
    def searches(self) -> list[Search]:
        """The searches of the studies' runs, and others that were asked for."""
        return list(self._searches.values())

    def runs(self, results: Path | None = None) -> dict[Run, RunConfig]:
        """The runs of all searches, see `expected_rounds`."""
        rounds = [runs for one in self.searches for runs in expected_rounds(one, results)]
        return {run: config for runs in rounds for run, config in runs.items()}

    def _entry(self, system: str) -> Mapping[str, list[Any]] | str | None:
        """What the grid says of a system."""
        grid = self.config.grid if self.config else {}
        patterns = [pattern for pattern in grid if fnmatchcase(system, pattern)]
        return grid[max(patterns, key=lambda pattern: (pattern == system, len(pattern)))] if patterns else None

    @property
    def _roles(self) -> Mapping[str, str]:
        return self.config.datasets if self.config else {}


def _check_pin(choice: ChoiceConfig, where: str) -> None:
    """Raises `SettingsError` where a pinned choice's file is there and says something else."""
    path = Path(choice.source)
    if not path.is_file():
        return
    found = read_choice(path)
    bleu = choice.validation_bleu
    if found.changes != choice.changes:
        raise SettingsError(f"{where}: {choice.changes}: {path} chose {found.changes}")
    if bleu is not None and (found.validation_bleu is None or abs(found.validation_bleu - bleu) > 0.005):
        raise SettingsError(f"{where}: validation_bleu: {bleu}: {path} says {found.validation_bleu}")
