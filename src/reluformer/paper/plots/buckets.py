"""BLEU by the length of the source: all systems in one panel, the bucket sizes as bars behind; a panel a view.

Whiskers are sacreBLEU's 95 % bootstrap intervals over a bucket's segments.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reluformer.config.metrics import SCORES, metric
from reluformer.config.studies import SENTENCE
from reluformer.evaluation.bleu import LEAST
from reluformer.paper.plots.base import Drawing, Plot, empty, grid

Label = tuple[int, int | None]
APART = 0.07
"""Distance of two systems in one bucket, in buckets."""
SIZES = "Grey bars: the number of test segments in each bucket."
WHISKERS = (
    f"Whiskers: 95 % bootstrap interval over a bucket's segments, the mean over seeds; none below {LEAST} segments."
)


def draw(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    frame = plot.frame()
    scores = {run: plot.read(run, SCORES) for run in frame["run"]}
    views = list(frame.groupby(["dataset", "packing", "length"], sort=False, dropna=False))
    figure, panels = grid(len(views), columns=2, size=(5.6 if len(views) > 1 else 7.6, 3.4))
    handles: dict[str, Any] = {}
    measure = plot.config.y[0] if plot.config.y else "tokenized_bleu"
    for axes, ((_, packing, length), part) in zip(panels, views, strict=True):
        if isinstance(packing, str):
            axes.set_title(f"L = {length:.0f}, {packing} documents")
        elif length == SENTENCE:
            axes.set_title("Single sentences")
        handles |= draw_view(axes, plot, part, scores, measure)
    return Drawing(figure, [*plot.notes(frame, spread=False), SIZES, WHISKERS], handles)


def draw_view(axes: Axes, plot: Plot, part: pd.DataFrame, scores: dict[str, Any], measure: str) -> dict[str, Any]:
    """Draws one test set, a line a series over its buckets; returns the legend."""
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
            if values := [row[measure] for row in rows if row[measure] is not None]:
                at = position + APART * (place - (len(looks) - 1) / 2)
                points.append((at, mean(values), whisker(rows, f"{measure}_ci")))
        if points:
            x, y, reach = (list(column) for column in zip(*points, strict=True))
            handles[series] = axes.errorbar(x, y, reach, capsize=2, elinewidth=0.9, **look)
    axes.set_xticks(range(len(buckets)), [name(label) for label in buckets])
    axes.set_xlabel(f"source length ({unit})")
    axes.set_ylabel(metric(measure).title)
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


def name(label: Label) -> str:
    """`(11, 20)` -> `11–20`, `(51, None)` -> `≥ 51`."""
    low, high = label
    return f"≥ {low}" if high is None else f"{low}–{high}"
