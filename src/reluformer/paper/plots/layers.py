"""A measure of the memories layer by layer: a panel a measure, a line a system."""

from __future__ import annotations

from statistics import mean
from typing import Any

from reluformer.config.metrics import ANALYSIS, metric
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, empty, grid, name_panel

ATTENTIONS = ("encoder_attention", "decoder_attention", "cross_attention")
SHORT = {"encoder": "enc", "decoder": "dec", "cross_attention": "cross"}


def draw(plot: Plot) -> Drawing:
    """The figure with its notes and legend."""
    frame = plot.frame()
    figure, panels = grid(len(plot.config.y), size=(5.2, 3.0))
    handles: dict[str, Any] = {}
    analyses = {run: plot.read(run, ANALYSIS) or {} for run in frame["run"]}
    for axes, name in zip(panels, plot.config.y, strict=True):
        shown = metric(name)
        name_panel(axes, shown.title)
        series = {
            label: by_place([analyses[run].get("places") or {} for run in part["run"]], *shown.path[1:])
            for label, part in frame.groupby("series", sort=False)
        }
        places = sorted({place for values in series.values() for place in values}, key=position)
        if not places:
            empty(axes, "no run has it")
            continue
        axes.set_xticks(range(len(places)), [short(place) for place in places], rotation=45, ha="right")
        for label, look in plot.looks(frame).items():
            points = sorted((places.index(place), value) for place, value in series[label].items())
            if points:
                (handles[label],) = axes.plot(*zip(*points, strict=True), **look)
        values = [value for one in series.values() for value in one.values()]
        if min(values) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
    return Drawing(figure, plot.notes(frame), handles)


def by_place(runs: list[dict[str, Any]], kind: str, *path: str) -> dict[str, float]:
    """A measure of each place of a kind, the mean over runs that have it, in the model's order."""
    found: dict[str, list[float]] = {}
    for places in runs:
        for name, place in places.items():
            value: Any = place if place["kind"] == kind or (kind == "attention" and place["kind"] in ATTENTIONS) else {}
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, int | float):
                found.setdefault(name, []).append(value)
    return {name: mean(values) for name, values in found.items()}


def position(place: str) -> tuple[bool, str, int]:
    """Encoder before decoder, each kind of memory by itself, by layer."""
    stack, layer, memory = place.split(".")
    return stack != "encoder", memory, int(layer)


def short(place: str) -> str:
    """`encoder.0.ffn` -> `enc 1`, `decoder.1.cross_attention` -> `cross 2`."""
    stack, layer, memory = place.split(".")
    return f"{SHORT.get(memory, SHORT[stack])} {int(layer) + 1}"
