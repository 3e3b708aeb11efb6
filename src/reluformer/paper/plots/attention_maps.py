"""Attention maps of one test segment: a column for each system, the whole map and a window of it with tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reluformer.config.metrics import ATTENTION
from reluformer.paper.plots.base import Drawing, Plot, empty, wrap

AXES = {"encoder": ("src", "src"), "decoder": ("tgt", "tgt"), "cross": ("tgt", "src")}
SIDES = {"src": "source", "tgt": "target"}


def draw(plot: Plot) -> Drawing:
    """Draws the figure with its notes."""
    config, frame = plot.config, plot.frame()
    maps = {run: read_map(plot, run) for run in frame["run"]}
    window = config.window
    sizes = [max(content["map"].shape) for content in maps.values() if content]
    rows = 2 if sizes and max(sizes) > window else 1
    shown = min(window, max(sizes, default=window))
    side = max(3.4, 0.155 * shown + 1.0)
    figure = Figure(figsize=(side * len(frame), side * 1.02 * rows), layout="constrained")
    grid = figure.subplots(rows, len(frame), squeeze=False)
    for column, row in enumerate(frame.to_dict("records")):
        shown_map = maps[row["run"]]
        grid[0][column].set_title(row["title"])
        if not shown_map:
            for axes in grid[:, column]:
                empty(axes, "no map" if row["status"] == "finished" else str(row["status"]))
            continue
        queries, keys = AXES[config.attention]
        if rows == 2:
            draw_map(grid[0][column], shown_map["map"], None, None)
            grid[0][column].set_xlabel(f"{SIDES[keys]} token")
            grid[0][column].set_ylabel(f"{SIDES[queries]} token")
        span = slice(0, window)
        draw_map(grid[-1][column], shown_map["map"][span, span], shown_map[queries][span], shown_map[keys][span])
    which = {"encoder": "encoder self-attention", "decoder": "decoder self-attention", "cross": "cross-attention"}
    layer = "the last layer" if config.layer == -1 else f"layer {config.layer + 1}"
    notes = [
        f"{which[config.attention].capitalize()} of {layer}, mean over heads; rows are queries; each map is scaled to "
        f"its own 99th percentile."
    ]
    if rows == 2:
        notes.append(f"Above: the whole segment (cut to 512 tokens); below: its first {window} tokens.")
    return Drawing(figure, [*notes, *plot.notes(frame, spread=False)])


def read_map(plot: Plot, run: str) -> dict[str, Any] | None:
    """Reads a run's map `[Q, K]` (mean over heads) and its tokens; None if there is none."""
    path = plot.results / "runs" / run / ATTENTION
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        prefix = f"{plot.config.attention}."
        layers = sorted(
            (key for key in arrays.files if key.startswith(prefix)), key=lambda key: int(key[len(prefix) :])
        )
        if not layers or not -len(layers) <= plot.config.layer < len(layers):
            return None
        weights = arrays[layers[plot.config.layer]].astype(np.float32).mean(axis=0)
        return {"map": weights, "src": arrays["src_tokens"], "tgt": arrays["tgt_tokens"]}


def draw_map(axes: Axes, weights: NDArray[Any], queries: Any, keys: Any) -> None:
    """Draws one map, the darker the larger the weight; `queries` and `keys` label its axes, or None."""
    top = float(np.percentile(weights, 99)) or float(weights.max()) or 1.0
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=top, aspect="equal", interpolation="nearest")
    axes.grid(visible=False)
    if queries is not None:
        size = 7.5 if len(keys) <= 32 else 6
        axes.set_xticks(range(len(keys)), [piece(token) for token in keys], rotation=90, fontsize=size)
        axes.set_yticks(range(len(queries)), [piece(token) for token in queries], fontsize=size)


def draw_sentence(weights: NDArray[Any], queries: list[str], keys: list[str], title: str) -> Figure:
    """Draws the map [Q, K] of one sentence as a figure of its own."""
    size = (max(3.6, 0.2 * len(keys) + 1.4), max(2.6, 0.2 * len(queries) + 1.4))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    draw_map(axes, weights, queries, keys)
    axes.set_title("\n".join(wrap(title, size[0])))
    return figure


def piece(token: str) -> str:
    """Returns a subword piece as a label: the word boundary as an underscore, mathtext escaped."""
    return str(token).replace("▁", "_").replace("$", r"\$")
