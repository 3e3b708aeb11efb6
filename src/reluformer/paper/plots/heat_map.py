"""A metric over two varied keys: a panel a metric (and series), a cell a pair of values with its number in it.

The colours are cividis, of even steps in lightness: they read the same in grey and without red or green.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from reluformer.config.metrics import Metric, metric
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, grid, luminance, measure, name_panel
from reluformer.paper.tables import KEY_TITLES, cell_text

COLOURS = "cividis"
EMPTY = "#ececec"
"""Of a cell without a number."""


def draw(plot: Plot) -> Drawing:
    """The figure with its notes; it has no legend."""
    across, down = plot.config.x, plot.config.rows
    assert across is not None and down is not None  # FigureConfig sees to it
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
    """One panel: `values` of the keys (across, down), means (or medians) over seeds; a hole says why it is one."""
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
    """Black or white, whichever has more contrast on a colour."""
    return "black" if luminance(colour) > 0.18 else "white"
