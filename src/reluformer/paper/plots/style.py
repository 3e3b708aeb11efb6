"""How every figure looks: one style, a colour and a marker a system, colour-blind safe (Paul Tol's muted scheme)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reluformer.config.metrics import Metric
from reluformer.files import replace

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
    "figure.titlesize": 12,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,  # text stays text, in fonts that a journal takes
    "svg.hashsalt": "reluformer",  # the same figure gives the same file
}
PANEL = (3.7, 2.9)
"""Inches of one panel."""
LINE = 0.19
"""Inches of one line under the panels."""


class Drawing(NamedTuple):
    """A figure without its title and what stands below it."""

    figure: Figure
    notes: list[str]
    handles: Mapping[str, Any] = {}
    """The legend: label -> what it looks like. A legend of one line is left out."""


@contextmanager
def style() -> Iterator[None]:
    """The style, for as long as the block lasts."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def look(systems: Sequence[str], system: str, variant: int = 0) -> dict[str, Any]:
    """Colour, marker and line of a system by its place among all `systems`; `variant` tells its lines apart."""
    at = list(systems).index(system)
    dash = (at // len(COLOURS) + variant) % len(DASHES)
    return {
        "color": COLOURS[at % len(COLOURS)],
        "marker": MARKERS[at % len(MARKERS)],
        "linestyle": DASHES[dash],
    }


def luminance(colour: Any) -> float:
    """Relative luminance of a colour as WCAG 2 defines it, 0 (black) to 1 (white)."""
    channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def grid(panels: int, columns: int = 3, size: tuple[float, float] = PANEL, **keys: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most `columns` in a row, and their axes; `keys` go to `Figure.subplots`."""
    columns = min(columns, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(max(size[0] * columns, 5.5), size[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **keys).flat)
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def finish(drawing: Drawing, title: str, stamp: str | None) -> Figure:
    """The figure with its title above the panels and, below them, its legend, its notes and the toy stamp."""
    figure, notes, handles = drawing
    width = figure.get_figwidth()
    lines = [*(line for note in notes for line in wrap(note, width)), *([stamp] if stamp else [])]
    head = wrap(title, width, 8.5)
    figure.suptitle("\n".join(head))
    columns = max(1, min(len(handles), int(width / (max(map(len, handles), default=0) * 0.073 + 0.62))))
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


def wrap(text: str, inches: float, per_inch: float = 13.0) -> list[str]:
    """`text` in lines that fit so many inches."""
    return textwrap.wrap(text, max(20, int(inches * per_inch))) or [""]


def name_panel(axes: Axes, title: str, width: int = 42) -> None:
    """A panel's title, in lines of at most so many characters."""
    axes.set_title(textwrap.fill(title, width))


def measure(axis: Axis, metric: Metric, ticks: int = 5) -> None:
    """A metric's scale: shares as percentages, and no more ticks than there is room for."""
    axis.set_major_locator(MaxNLocator(ticks))
    if metric.format.endswith("%"):
        axis.set_major_formatter(PercentFormatter(1.0))


def empty(axes: Axes, message: str) -> None:
    """Says in the middle of a panel why it shows nothing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", transform=axes.transAxes, color="#9a3b00")


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix, in one piece and without a date."""
    undated: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    metadata = undated.get(path.suffix, {"Software": None})
    replace(path, lambda temporary: figure.savefig(temporary, metadata=metadata))
