"""How every figure looks: one style, a colour and a marker a system, colour-blind safe (Paul Tol's muted scheme)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reluformer.paper.formats import write_file

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
    "svg.hashsalt": "reluformer",  # the same figure gives the same file
}
PANEL = (3.7, 2.9)
"""Inches of one panel."""


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


def grid(panels: int, columns: int = 3, size: tuple[float, float] = PANEL, **keys: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most `columns` in a row, and their axes; `keys` go to `Figure.subplots`."""
    columns = min(columns, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(max(size[0] * columns, 5.5), size[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **keys).flat)
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def legend(figure: Figure, handles: Sequence[Line2D | Any], labels: Sequence[str]) -> None:
    """One legend under the panels, in as many columns as the figure's width has room for."""
    if not handles:
        return
    widest = max(len(label) for label in labels) * 0.075 + 0.6
    columns = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    rows = ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def finish(figure: Figure, title: str, notes: Sequence[str], stamp: str | None) -> None:
    """Puts the title above the panels and the notes, then the stamp, in lines below everything."""
    lines = [*(line for note in notes for line in wrap(note, figure.get_figwidth())), *([stamp] if stamp else [])]
    head = wrap(title, figure.get_figwidth(), 8.5)
    figure.suptitle("\n".join(head))
    below = 0.19 * len(lines) + (0.06 if lines else 0)
    height = figure.get_figheight() + below + 0.2 * len(head)
    figure.set_figheight(height)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / height, 1, 1 - below / height))  # type: ignore[call-arg]
    for row, line in enumerate(reversed(lines)):
        stamped = stamp is not None and row == 0
        figure.text(
            0.01,
            (0.05 + 0.19 * row) / height,
            line,
            fontsize=8.5,
            color="#b35c00" if stamped else "#444444",
            fontweight="bold" if stamped else "normal",
        )


def wrap(text: str, inches: float, per_inch: float = 13.0) -> list[str]:
    """`text` in lines that fit so many inches."""
    from textwrap import wrap as lines

    return lines(text, max(20, int(inches * per_inch))) or [""]


def empty(axes: Axes, message: str) -> None:
    """Says in the middle of a panel why it shows nothing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", transform=axes.transAxes, color="#9a3b00")


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix, in one piece and without a date."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    write_file(path, lambda temporary: figure.savefig(temporary, metadata=metadata))
