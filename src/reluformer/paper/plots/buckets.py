"""BLEU by the length of the source: all systems in one panel, the bucket sizes as bars behind; a panel a view."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reluformer.paper.metrics import SCORES
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, empty, grid

TITLES = {"bleu": "BLEU (sacreBLEU)", "tokenized_bleu": "BLEU (tokenised, lower-cased)"}
Label = tuple[int, int | None]


def draw(plot: Plot) -> Drawing:
    """The figure with its notes and legend."""
    frame = plot.frame()
    scores = {run: plot.read(run, SCORES) for run in frame["run"]}
    views = list(frame.groupby(["dataset", "packing", "length"], sort=False, dropna=False))
    figure, panels = grid(len(views), columns=2, size=(5.6 if len(views) > 1 else 7.6, 3.4))
    handles: dict[str, Any] = {}
    measure = plot.config.y[0] if plot.config.y else "tokenized_bleu"
    for axes, ((_, packing, length), part) in zip(panels, views, strict=True):
        if isinstance(packing, str):
            axes.set_title(f"L = {length:.0f}, {packing} documents")
        handles |= draw_view(axes, plot, part, scores, measure)
    return Drawing(figure, [*plot.notes(frame), "Grey bars: the number of test segments in each bucket."], handles)


def draw_view(axes: Axes, plot: Plot, part: pd.DataFrame, scores: dict[str, Any], measure: str) -> dict[str, Any]:
    """One test set: a line a series over its buckets; returns the lines for the legend, by label."""
    found = {run: {(b["low"], b["high"]): b for b in scores[run]["buckets"]} for run in part["run"] if scores[run]}
    buckets: list[Label] = sorted({label for run in found.values() for label in run})
    if not buckets:
        empty(axes, "no run is scored")
        return {}
    unit = next(content["unit"] for content in (scores[run] for run in found) if content["buckets"])
    sizes = [next(run[label]["segments"] for run in found.values() if label in run) for label in buckets]
    draw_sizes(axes, sizes)
    handles = {}
    for series, look in plot.looks(part).items():
        members = part[part["series"] == series]
        points = []
        for position, label in enumerate(buckets):
            values = [found[r][label][measure] for r in members["run"] if r in found and label in found[r]]
            if known := [value for value in values if value is not None]:
                points.append((position, mean(known), stdev(known) if len(known) > 1 else 0.0))
        if points:
            x, y, spread = (list(column) for column in zip(*points, strict=True))
            bars = axes.errorbar(x, y, spread if any(spread) else None, capsize=2, **look)
            handles[series] = bars
    axes.set_xticks(range(len(buckets)), [name(label) for label in buckets])
    axes.set_xlabel(f"source length ({unit})")
    axes.set_ylabel(TITLES[measure])
    axes.set_ylim(bottom=0)
    return handles


def draw_sizes(axes: Axes, sizes: list[int]) -> None:
    """The bucket sizes as grey bars in the lower third, each with its number."""
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


def name(label: Label) -> str:
    """`(11, 20)` -> `11–20`, `(51, None)` -> `≥ 51`."""
    low, high = label
    return f"≥ {low}" if high is None else f"{low}–{high}"
