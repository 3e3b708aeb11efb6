"""What every kind of figure starts from: its study, the runs it shows, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import metric
from reluformer.config.run import Run
from reluformer.config.studies import FigureConfig, StudyConfig
from reluformer.paper.outputs import figure_runs
from reluformer.paper.plots.style import look
from reluformer.paper.records import DIVERGED, NOT_RUN, read_json, records
from reluformer.paper.tables import KEY_TITLES

PANELS = {"lines": ("packing",), "buckets": ("packing", "length")}
"""Kinds of figure that give these keys panels of their own: they tell no series apart."""


@dataclass(frozen=True)
class Plot:
    """One figure of one study, and where its runs are."""

    experiment: Experiment
    study: str
    config: FigureConfig
    results: Path

    @property
    def study_config(self) -> StudyConfig:
        """The study that the figure belongs to."""
        return self.experiment.studies[self.study]

    @cached_property
    def runs(self) -> list[Run]:
        """The runs that the figure shows, in the study's order."""
        return figure_runs(self.experiment, self.study, self.config)

    def frame(self, names: Sequence[str] = ()) -> pd.DataFrame:
        """The shown runs with the metrics of these names, see `records`; `series` tells a figure's lines apart."""
        every = records(self.experiment, self.study, [metric(name) for name in names], self.results)
        shown = [run.path for run in self.runs]
        frame = every if self.study_config.measured else every[every["run"].isin(shown)].reset_index(drop=True)
        keys = [key for key in self._series_keys(frame) if key != "system"]
        frame["series"] = [self._label(row, keys) for row in frame.to_dict("records")]
        return frame

    def read(self, run: str, file: str) -> dict[str, Any] | None:
        """A JSON file of a run, None where it is not there."""
        return read_json(self.results / "runs" / run / file)

    def look(self, system: str, variant: int = 0) -> dict[str, Any]:
        """Colour, marker and line of a system, the same in every figure."""
        return look(list(self.experiment.systems), split_system(system)[0], variant)

    def looks(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """The look of each series of a frame; series of one system differ by their dashes."""
        seen: dict[str, int] = {}
        looks = {}
        for row in frame.drop_duplicates("series").to_dict("records"):
            looks[row["series"]] = self.look(row["system"], seen.setdefault(row["system"], 0))
            seen[row["system"]] += 1
        return looks

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """What the figure does not show: the runs that diverged and those that are not there."""
        lines = []
        lost = frame[frame["status"] == DIVERGED]
        if len(lost):
            named = [f"{label} ({len(part)})" for label, part in lost.groupby("series", sort=False)]
            lines.append(f"Diverged, with the number of runs: {'; '.join(named)}.")
        missing = int((frame["status"] == NOT_RUN).sum())
        if missing:
            lines.append(f"{missing} of {len(frame)} runs are not there yet.")
        if self.study_config.measured:
            lines.append(f"Median of {frame['seed'].nunique()} rounds; the spread is their standard deviation.")
        elif frame["seed"].nunique() > 1:
            lines.append(f"Mean over {frame['seed'].nunique()} seeds; the spread is their standard deviation.")
        return lines

    def _series_keys(self, frame: pd.DataFrame) -> list[str]:
        keys = ["system", "packing", "length", *self.study_config.vary]
        apart = [self.config.x, self.config.rows, *PANELS.get(self.config.kind, ())]
        return [key for key in keys if key not in apart and frame[key].nunique(dropna=False) > 1]

    def _label(self, row: dict[Any, Any], keys: list[str]) -> str:
        return ", ".join([row["title"], *(_value(key, row[key]) for key in keys if not pd.isna(row[key]))])


def _value(key: str, value: Any) -> str:
    """`packing within` -> `within`, everything else with its key: `L 128`, `γ learned`."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if key == "packing" else f"{KEY_TITLES.get(key, key)} {text}"
