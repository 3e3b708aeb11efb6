"""Metrics of systems: against a varied key, by system, over two varied keys as a heat map, by the source's length."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from numbers import Real
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from reluformer.config.metrics import SCORES, Metric, metric
from reluformer.config.studies import SENTENCE
from reluformer.evaluation.bleu import LEAST
from reluformer.paper.plots.base import Drawing, Plot, empty, grid, luminance, measure, name_panel
from reluformer.paper.tables import KEY_TITLES, cell_text

AXIS_TITLES = {**KEY_TITLES, "length": "L (tokens)", "slots": "slots of each FFN memory"}
COLOURS = "cividis"
EMPTY = "#ececec"
"""The colour of a cell without a number."""
Label = tuple[int, int | None]
APART = 0.07
"""Distance of two systems in one bucket, in buckets."""


def draw_lines(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    key = plot.config.x
    assert key is not None  # checked by FigureConfig
    frame = plot.frame(plot.config.y)
    values = list(dict.fromkeys(frame[key]))
    sentences = frame["length"] == SENTENCE  # without packing or recipe: drawn with the first series of their system
    packings = list(frame[~sentences].groupby("packing", sort=False, dropna=False))
    looks = plot.looks(frame[~sentences])
    shown = [(packing, part, metric(name)) for packing, part in packings for name in plot.config.y]
    figure, panels = grid(len(shown), columns=len(plot.config.y) if len(packings) > 1 else 3)
    handles: dict[str, Any] = {}
    for axes, (packing, part, one) in zip(panels, shown, strict=True):
        name_panel(axes, f"{one.title}, {packing} documents" if len(packings) > 1 else one.title)
        if part[one.name].isna().all():
            empty(axes, "no run has it")
            continue
        if plot.config.log:
            axes.set_yscale("log")
        measure(axes.yaxis, one)
        places = place(axes, values)
        axes.set_xlabel(AXIS_TITLES.get(key, key))
        apart = frame[sentences]
        for series, look in looks.items():
            mine = part[part["series"] == series]
            first = apart["system"].isin(mine["system"])
            mine, apart = pd.concat([apart[first], mine]), apart[~first]
            if line := draw_series(axes, mine, key, one, places, look):
                handles[series] = line
    return Drawing(figure, plot.notes(frame), handles)


def place(axes: Axes, values: Sequence[Any]) -> dict[Any, float]:
    """Sets the ticks and returns the x of each value of the key: by size if all are numbers, else one after another."""
    numbers = [float(value) for value in values if is_number(value)]
    if len(numbers) < len(values):
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlim(-0.4, len(values) - 0.6)
        return {value: float(position) for position, value in enumerate(values)}
    if min(numbers) > 0 and max(numbers) >= 4 * min(numbers):
        axes.set_xscale("log", base=2)
    crowded = sum(len(f"{number:g}") for number in numbers) > 22
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 8.5}
    axes.set_xticks(numbers, [f"{number:g}" for number in numbers], **(turned if crowded else {}))
    axes.minorticks_off()
    return {value: float(value) for value in values}


def is_number(value: Any) -> bool:
    """Returns whether a varied key's value is a number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def draw_series(
    axes: Axes, part: pd.DataFrame, key: str, shown: Metric, places: dict[Any, float], look: dict[str, Any]
) -> Any:
    """Draws one system's means (or medians) over seeds, joined where the key is a number; returns the legend's line."""
    means = part.groupby(key, sort=False)[shown.name].apply(lambda known: shown.centre(known.dropna())).dropna()
    if means.empty:
        return None
    spread = part.groupby(key, sort=False)[shown.name].std(ddof=1).reindex(means.index).fillna(0.0)
    joined = [value for value in means.index if is_number(value)]
    apart = [value for value in means.index if not is_number(value)]
    x, y = [places[value] for value in joined], [means[value] for value in joined]
    (line,) = axes.plot(x, y, **look)
    low, high = ([means[v] + sign * spread[v] for v in joined] for sign in (-1, 1))
    if any(spread):
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    for value in apart:
        marks = {**look, "linestyle": "none"}
        axes.errorbar([places[value]], [means[value]], [spread[value]], capsize=3, **marks)
    return line


def draw_bars(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    metrics = [metric(name) for name in plot.config.y]
    frame = plot.frame(plot.config.y)
    series = list(dict.fromkeys(frame["series"]))
    figure, panels = grid(len(metrics), columns=2, size=(5.0, 0.9 + 0.34 * len(series)), sharey=True)
    for axes, shown in zip(panels, metrics, strict=True):
        name_panel(axes, shown.title, 34)
        measure(axes.xaxis, shown, 4)
        for row, label in enumerate(series):
            draw_bar(axes, plot, frame[frame["series"] == label], shown, row)
        axes.set_yticks(range(len(series)), [textwrap.fill(label, 30) for label in series])
        axes.set_ylim(len(series) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.3)  # for the number next to the longest bar
    return Drawing(figure, plot.notes(frame, diverged=False))


def draw_bar(axes: Axes, plot: Plot, part, shown: Metric, row: int) -> None:  # type: ignore[no-untyped-def]
    """Draws one bar with its number next to it, or the reason why there is none."""
    known = part[shown.name].dropna()
    text = cell_text(part, shown)
    if known.empty:
        axes.annotate(text, (0, row), (4, 0), textcoords="offset points", va="center", color="#9a3b00", fontsize=9)
        return
    spread = known.std(ddof=1) if len(known) > 1 else 0.0
    look = plot.look(part["system"].iloc[0])
    axes.barh(row, shown.centre(known), height=0.65, color=look["color"], xerr=spread or None, capsize=3)
    end = shown.centre(known) + spread
    axes.annotate(text, (max(end, 0), row), (4, 0), textcoords="offset points", va="center", fontsize=9)


def draw_heat_map(plot: Plot) -> Drawing:
    """Draws the figure with its notes; it has no legend."""
    across, down = plot.config.x, plot.config.rows
    assert across is not None and down is not None  # checked by FigureConfig
    frame = plot.frame(plot.config.y)
    series = list(frame.groupby("series", sort=False))
    values = [list(dict.fromkeys(frame[key])) for key in (across, down)]
    shown = [(label, part, metric(name)) for label, part in series for name in plot.config.y]
    size = (max(3.7, 1.3 + 0.8 * len(values[0])), 1.2 + 0.45 * len(values[1]))
    figure, panels = grid(len(shown), columns=len(plot.config.y), size=size)
    for axes, (label, part, one) in zip(panels, shown, strict=True):
        name_panel(axes, f"{one.title}, {label}" if len(series) > 1 else one.title)
        draw_cells(axes, part, one, (across, down), values)
    best = [name for name in plot.config.y if metric(name).better != "neither"]
    return Drawing(figure, [*plot.notes(frame), *(["The best cell of each panel is framed."] if best else [])])


def draw_cells(axes: Axes, part: pd.DataFrame, shown: Metric, keys: tuple[str, str], values: list[list[Any]]) -> None:
    """Draws one panel: means (or medians) over seeds at `values` of the keys (across, down); empty cells say why."""
    across, down = keys
    cells: dict[Any, pd.DataFrame] = dict(iter(part.groupby([across, down], sort=False)))
    centres = np.full((len(values[1]), len(values[0])), np.nan)
    for (column, row), group in cells.items():
        if group[shown.name].notna().any():
            centres[values[1].index(row), values[0].index(column)] = shown.centre(group[shown.name].dropna())
    axes.set_facecolor(EMPTY)
    axes.grid(visible=False)
    for axis, points in ((axes.xaxis, values[0]), (axes.yaxis, values[1])):
        axis.set_ticks(range(len(points)), [f"{v:g}" if isinstance(v, float) else str(v) for v in points])
    axes.set_xlabel(KEY_TITLES.get(across, across))
    axes.set_ylabel(KEY_TITLES.get(down, down))
    known = centres[np.isfinite(centres)]
    scale = Normalize(*((known.min(), known.max()) if known.size else (0, 1)))
    image = axes.imshow(centres, cmap=COLOURS, norm=scale, aspect="auto")
    if known.size and axes.figure is not None:
        measure(axes.figure.colorbar(image, ax=axes).ax.yaxis, shown, 4)
    for (column, row), group in cells.items():
        x, y = values[0].index(column), values[1].index(row)
        missing = np.isnan(centres[y, x])
        colour = "#9a3b00" if missing else readable_on(image.cmap(scale(centres[y, x])))
        text = cell_text(group, shown).partition(" (")[0] if missing else shown.show(centres[y, x])
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8 if missing else 9)
    if known.size and known.max() > known.min() and shown.better != "neither":
        best = np.nanargmax(centres) if shown.better == "higher" else np.nanargmin(centres)
        down_at, across_at = divmod(int(best), len(values[0]))
        frame: dict[str, Any] = {"fill": False, "edgecolor": "#b35c00", "linewidth": 2.5, "clip_on": False, "zorder": 3}
        axes.add_patch(Rectangle((across_at - 0.5, down_at - 0.5), 1, 1, **frame))


def readable_on(colour: Any) -> str:
    """Returns black or white, whichever has more contrast on a colour."""
    return "black" if luminance(colour) > 0.18 else "white"


def draw_buckets(plot: Plot) -> Drawing:
    """Draws BLEU by source length: a panel for each view, with its bucket sizes as bars behind the lines."""
    frame = plot.frame()
    scores = {run: plot.read(run, SCORES) for run in frame["run"]}
    views = list(frame.groupby(["dataset", "packing", "length"], sort=False, dropna=False))
    figure, panels = grid(len(views), columns=2, size=(5.6 if len(views) > 1 else 7.6, 3.4))
    handles: dict[str, Any] = {}
    kind = plot.config.y[0] if plot.config.y else "tokenized_bleu"
    for axes, ((_, packing, length), part) in zip(panels, views, strict=True):
        if isinstance(packing, str):
            axes.set_title(f"L = {length:.0f}, {packing} documents")
        elif length == SENTENCE:
            axes.set_title("Single sentences")
        handles |= draw_view(axes, plot, part, scores, kind)
    interval = "95 % bootstrap interval over a bucket's segments, the mean over seeds"
    notes = [
        "Grey bars: the number of test segments in each bucket.",
        f"Whiskers: {interval}; none below {LEAST} segments.",
    ]
    return Drawing(figure, [*plot.notes(frame, spread=False), *notes], handles)


def draw_view(axes: Axes, plot: Plot, part: pd.DataFrame, scores: dict[str, Any], kind: str) -> dict[str, Any]:
    """Draws one test set, a line for each series over its buckets; returns the legend."""
    scored = {run: {(b["low"], b["high"]): b for b in scores[run]["buckets"]} for run in part["run"] if scores[run]}
    buckets: list[Label] = sorted({label for run in scored.values() for label in run})
    if not buckets:
        empty(axes, "no run is scored")
        return {}
    unit = next(content["unit"] for content in (scores[run] for run in scored) if content["buckets"])
    sizes = [next(run[label]["segments"] for run in scored.values() if label in run) for label in buckets]
    draw_sizes(axes, sizes)
    handles = {}
    looks = plot.looks(part)
    for place, (series, look) in enumerate(looks.items()):
        members = part[part["series"] == series]
        points = []
        for position, label in enumerate(buckets):
            rows = [scored[run][label] for run in members["run"] if label in scored.get(run, {})]
            if values := [row[kind] for row in rows if row[kind] is not None]:
                at = position + APART * (place - (len(looks) - 1) / 2)
                points.append((at, mean(values), whisker(rows, f"{kind}_ci")))
        if points:
            x, y, reach = (list(column) for column in zip(*points, strict=True))
            handles[series] = axes.errorbar(x, y, reach, capsize=2, elinewidth=0.9, **look)
    axes.set_xticks(range(len(buckets)), [bounds(label) for label in buckets])
    axes.set_xlabel(f"source length ({unit})")
    axes.set_ylabel(metric(kind).title)
    axes.set_ylim(bottom=0)
    return handles


def whisker(rows: list[dict[str, Any]], name: str) -> float:
    """Returns half the interval of one bucket, the mean over its runs; 0 for a bucket that is too small."""
    intervals = [row[name] for row in rows if row["segments"] >= LEAST and row.get(name) is not None]
    return mean(intervals) if intervals else 0.0


def draw_sizes(axes: Axes, sizes: list[int]) -> None:
    """Draws the bucket sizes as grey bars in the lower third, each with its number."""
    behind = axes.twinx()
    behind.bar(range(len(sizes)), sizes, width=0.8, color="#dddddd", zorder=0)
    behind.set_ylim(0, 3.2 * max(sizes))
    behind.set_axis_off()
    for position, size in enumerate(sizes):
        behind.annotate(
            f"{size:,}", (position, 0), (0, 2), textcoords="offset points", ha="center", fontsize=8, color="#555555"
        )
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)


def bounds(label: Label) -> str:
    """Returns a bucket's label: `(11, 20)` -> `11–20`, `(51, None)` -> `≥ 51`."""
    low, high = label
    return f"≥ {low}" if high is None else f"{low}–{high}"
