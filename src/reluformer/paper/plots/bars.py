"""Metrics by system: a panel a metric, a bar a system, the seeds' spread as a whisker."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes

from reluformer.config.metrics import Metric, metric
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, grid, measure, name_panel
from reluformer.paper.tables import cell_text


def draw(plot: Plot) -> Drawing:
    """The figure with its notes and legend."""
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
        axes.margins(x=0.3)  # room for the figure beside the longest bar
    return Drawing(figure, [note for note in plot.notes(frame) if not note.startswith("Diverged")])


def draw_bar(axes: Axes, plot: Plot, part, shown: Metric, row: int) -> None:  # type: ignore[no-untyped-def]
    """One bar with its figure beside it; a bar that cannot be says why."""
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
