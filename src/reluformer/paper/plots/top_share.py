"""How concentrated a memory is: the share of the mass that the top p % of its slots hold."""

from __future__ import annotations

from statistics import mean
from typing import Any

from matplotlib.ticker import PercentFormatter

from reluformer.config.metrics import ANALYSIS, CURVES, KINDS, SHARES
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, empty, grid


def draw(plot: Plot) -> Drawing:
    """The figure with its notes and legend."""
    frame = plot.frame()
    analyses = {run: plot.read(run, ANALYSIS) or {} for run in frame["run"]}
    figure, panels = grid(len(plot.config.y), size=(4.2, 3.2))
    handles: dict[str, Any] = {}
    for axes, name in zip(panels, plot.config.y, strict=True):
        kind, _, measure = name.partition(".")
        axes.set_title(f"{KINDS[kind]}: {CURVES[measure]}")
        for label, look in plot.looks(frame).items():
            runs = frame.loc[frame["series"] == label, "run"]
            curve = mean_curve([(analyses[run].get("kinds") or {}).get(kind, {}).get(measure) or {} for run in runs])
            if curve:
                x, y = zip(*curve, strict=True)
                (handles[label],) = axes.plot(x, y, **look)
        if not axes.lines:
            empty(axes, "no run has it")
            continue
        axes.set_xscale("log")
        axes.set_xticks([float(share) for share in SHARES], list(SHARES), rotation=45)
        axes.minorticks_off()
        axes.set_xlabel("top slots (%)")
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return Drawing(figure, plot.notes(frame), handles)


def mean_curve(curves: list[dict[str, float | None]]) -> list[tuple[float, float]]:
    """`(percentage, mean share)` over runs, by rising percentage; a percentage that no run has is left out."""
    points = []
    for share in SHARES:
        values = [value for curve in curves if (value := curve.get(share)) is not None]
        if values:
            points.append((float(share), mean(values)))
    return points
