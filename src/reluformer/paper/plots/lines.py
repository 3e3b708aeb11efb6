"""Metrics against a varied key: a panel a metric (and packing), a line a system, the seeds' spread as a band."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reluformer.config.metrics import Metric, metric
from reluformer.config.studies import SENTENCE
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, empty, grid, measure, name_panel
from reluformer.paper.tables import KEY_TITLES

AXIS_TITLES = {**KEY_TITLES, "length": "L (tokens)", "slots": "slots of each FFN memory"}


def draw(plot: Plot) -> Drawing:
    """The figure with its notes and legend."""
    key = plot.config.x
    assert key is not None  # FigureConfig sees to it
    frame = plot.frame(plot.config.y)
    values = list(dict.fromkeys(frame[key]))
    sentences = frame["length"] == SENTENCE  # of no packing and no recipe: beside every series of their system
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
        for series, look in looks.items():
            mine = part[part["series"] == series]
            mine = pd.concat([frame[sentences & frame["system"].isin(mine["system"])], mine])
            if line := draw_series(axes, mine, key, one, places, look):
                handles[series] = line
    return Drawing(figure, plot.notes(frame), handles)


def place(axes: Axes, values: Sequence[Any]) -> dict[Any, float]:
    """Where each value of the key is on the x axis, ticks set: by size if all are numbers, else one after another."""
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
    """Whether a varied key's value has a place on a scale."""
    return isinstance(value, Real) and not isinstance(value, bool)


def draw_series(
    axes: Axes, part: pd.DataFrame, key: str, shown: Metric, places: dict[Any, float], look: dict[str, Any]
) -> Any:
    """One system's means (or medians) over seeds, joined where the key is a number; returns the line for the legend."""
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
