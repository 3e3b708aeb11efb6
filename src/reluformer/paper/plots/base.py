"""What all figures share: the style, the selection of runs, and the layout of panels and pages.

A system has one colour and one marker in all figures: the colours are safe for colour blindness (Paul Tol's muted
scheme), the markers tell lines apart in black and white.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import Metric, metric
from reluformer.config.settings import read_json
from reluformer.config.studies import FigureConfig, StudyConfig
from reluformer.files import replace
from reluformer.paper.outputs import figure_runs
from reluformer.paper.runs import DIVERGED, NOT_RUN, read_runs
from reluformer.paper.tables import KEY_TITLES

COLOURS = ("#332288", "#cc6677", "#117733", "#882255", "#ddaa33", "#88ccee", "#44aa99", "#999933", "#aa4499")
MARKERS = "osD^vPXd*"
DASHES = ("-", "--", ":", "-.")
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.8,  # shows a dash on both sides of the marker
    "figure.titlesize": 12,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,  # text stays text, in fonts that journals accept
    "svg.hashsalt": "reluformer",  # the same figure gives the same file
}
PANEL = (3.7, 2.9)
"""Width and height of a panel in inches."""
LINE = 0.19
"""Height of a line of text under the panels, in inches."""
PANELS = {"lines": ("packing",), "buckets": ("packing", "length")}
"""Keys that have panels of their own in a kind of figure, and so do not name its series."""


class Drawing(NamedTuple):
    """A figure without its title and the lines below it."""

    figure: Figure
    notes: list[str]
    handles: Mapping[str, Any] = {}
    """The legend: label -> artist. A legend of one line is left out."""


@dataclass(frozen=True)
class Plot:
    """One figure of one study, and the folder of its results."""

    experiment: Experiment
    study: str
    config: FigureConfig
    results: Path

    @property
    def study_config(self) -> StudyConfig:
        """The study that the figure belongs to."""
        return self.experiment.studies[self.study]

    def frame(self, names: Sequence[str] = ()) -> pd.DataFrame:
        """Returns the shown runs with these metrics, see `read_runs`; `series` names the figure's lines."""
        every = read_runs(self.experiment, self.study, [metric(name) for name in names], self.results)
        shown = [run.path for run in figure_runs(self.experiment, self.study, self.config)]
        frame = every if self.study_config.measured else every[every["run"].isin(shown)].reset_index(drop=True)
        keys = [key for key in self._series_keys(frame) if key != "system"]
        frame["series"] = [self._label(row, keys) for row in frame.to_dict("records")]
        return frame

    def read(self, run: str, file: str) -> dict[str, Any] | None:
        """Reads a JSON file of a run; None if there is none."""
        return read_json(self.results / "runs" / run / file)

    def look(self, system: str, variant: int = 0) -> dict[str, Any]:
        """Returns colour, marker and line of a system, the same in every figure.

        `variant` distinguishes its lines: by dashes, and every second one by hollow markers.
        """
        index = list(self.experiment.systems).index(split_system(system)[0])
        colour = COLOURS[index % len(COLOURS)]
        return {
            "color": colour,
            "marker": MARKERS[index % len(MARKERS)],
            "markerfacecolor": "white" if variant % 2 else colour,
            "linestyle": DASHES[(index // len(COLOURS) + variant) % len(DASHES)],
        }

    def looks(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """Returns the look of each series of a frame; series of one system differ by their dashes."""
        seen: dict[str, int] = {}
        looks = {}
        for row in frame.drop_duplicates("series").to_dict("records"):
            looks[row["series"]] = self.look(row["system"], seen.setdefault(row["system"], 0))
            seen[row["system"]] += 1
        return looks

    def notes(self, frame: pd.DataFrame, diverged: bool = True, spread: bool = True) -> list[str]:
        """Returns notes on what the figure does not show: diverged and missing runs, and what the spread is."""
        lines = []
        lost = frame[frame["status"] == DIVERGED]
        if diverged and len(lost):
            named = [f"{label} ({len(part)})" for label, part in lost.groupby("series", sort=False)]
            lines.append(f"Diverged, with the number of runs: {'; '.join(named)}.")
        missing = int((frame["status"] == NOT_RUN).sum())
        if missing:
            lines.append(f"{missing} of {len(frame)} runs are not there yet.")
        if self.study_config.measured and spread:
            lines.append(f"Median of {frame['seed'].nunique()} rounds; the spread is their standard deviation.")
        elif frame["seed"].nunique() > 1 and spread:
            lines.append(f"Mean over {frame['seed'].nunique()} seeds; the spread is their standard deviation.")
        return lines

    def _series_keys(self, frame: pd.DataFrame) -> list[str]:
        keys = ["system", "packing", "length", *self.study_config.vary]
        apart = [self.config.x, self.config.rows, *PANELS.get(self.config.kind, ())]
        return [key for key in keys if key not in apart and frame[key].nunique(dropna=False) > 1]

    def _label(self, row: dict[Any, Any], keys: list[str]) -> str:
        return ", ".join([row["title"], *(_value(key, row[key]) for key in keys if not pd.isna(row[key]))])


def _value(key: str, value: Any) -> str:
    """Labels a value with its key, `L 128`, `γ learned`; a packing without it, `within`."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if key == "packing" else f"{KEY_TITLES.get(key, key)} {text}"


def style() -> AbstractContextManager[None]:
    """Applies the style within a `with` block."""
    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


def luminance(colour: Any) -> float:
    """Returns the relative luminance of a colour by WCAG 2, from 0 (black) to 1 (white)."""
    channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def grid(panels: int, columns: int = 3, size: tuple[float, float] = PANEL, **keys: Any) -> tuple[Figure, list[Axes]]:
    """Returns a figure of `panels`, at most `columns` in a row, and their axes; `keys` go to `Figure.subplots`."""
    columns = min(columns, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(max(size[0] * columns, 5.5), size[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **keys).flat)
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def finish(drawing: Drawing, title: str, stamp: str | None) -> Figure:
    """Adds the title above the panels, and below them the legend, the notes and the toy stamp."""
    figure, notes, handles = drawing
    width = figure.get_figwidth()
    lines = [*(line for note in notes for line in wrap(note, width)), *([stamp] if stamp else [])]
    head = wrap(title, width, 8.5)
    figure.suptitle("\n".join(head))
    columns = max(1, min(len(handles), int(width / (max(map(len, handles), default=0) * 0.073 + 0.75))))
    rows = ceil(len(handles) / columns) if len(handles) > 1 else 0
    under = LINE * len(lines) + 0.08
    below = under + 0.23 * rows
    height = figure.get_figheight() + below + 0.2 * len(head)
    figure.set_figheight(height)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / height, 1, 1 - below / height))  # type: ignore[call-arg]
    if rows:
        anchor = (0.5, under / height)
        figure.legend(
            list(handles.values()), list(handles), loc="lower center", bbox_to_anchor=anchor, ncols=columns, borderpad=0
        )
    for row, line in enumerate(reversed(lines)):
        stamped = stamp is not None and row == 0
        look: dict[str, Any] = {"color": "#b35c00", "fontweight": "bold"} if stamped else {"color": "#444444"}
        figure.text(0.05 / width, (0.06 + LINE * row) / height, line, fontsize=8.5, **look)
    return figure


def settle(figure: Figure) -> None:
    """Rounds the panels' positions: the layout's last digits differ from run to run, and with them an SVG's ids."""
    for axes in figure.axes:
        left, bottom, width, height = (round(value, 6) for value in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height), which="original")


def wrap(text: str, inches: float, per_inch: float = 13.0) -> list[str]:
    """Wraps `text` into lines of this many inches."""
    return textwrap.wrap(text, max(20, int(inches * per_inch))) or [""]


def mean_of(runs: Iterable[Mapping[Any, float | None]]) -> dict[Any, float]:
    """Returns the mean of each value over the runs that have it."""
    return pd.DataFrame(list(runs), dtype=float).mean().dropna().to_dict()


def name_panel(axes: Axes, title: str, width: int = 42) -> None:
    """Sets a panel's title, in lines of at most `width` characters."""
    axes.set_title(textwrap.fill(title, width))


def measure(axis: Axis, metric: Metric, ticks: int = 5) -> None:
    """Sets a metric's scale: shares as percentages, at most `ticks` ticks."""
    axis.set_major_locator(MaxNLocator(ticks))
    if metric.format.endswith("%"):
        axis.set_major_formatter(PercentFormatter(1.0))


def empty(axes: Axes, message: str) -> None:
    """Writes in the middle of a panel why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", transform=axes.transAxes, color="#9a3b00")


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix, atomically and without a date."""
    undated: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    metadata = undated.get(path.suffix, {"Software": None})
    replace(path, lambda temporary: figure.savefig(temporary, metadata=metadata))
