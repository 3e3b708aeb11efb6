"""Measures of the memories: layer by layer, and how few slots hold how much; a panel a measure, a line a system."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import PercentFormatter

from reluformer.config.changes import read_path
from reluformer.config.metrics import ANALYSIS, CURVES, KINDS, SHARES, metric
from reluformer.paper.plots.base import Drawing, Plot, empty, grid, mean_of, name_panel

ATTENTIONS = ("encoder_attention", "decoder_attention", "cross_attention")
SHORT = {"encoder": "enc", "decoder": "dec", "cross_attention": "cross"}


def draw_layers(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    frame = plot.frame()
    figure, panels = grid(len(plot.config.y), size=(5.2, 3.0))
    handles: dict[str, Any] = {}
    analyses = {run: plot.read(run, ANALYSIS) or {} for run in frame["run"]}
    for axes, name in zip(panels, plot.config.y, strict=True):
        shown = metric(name)
        name_panel(axes, shown.title)
        series = {
            label: mean_of(by_place(analyses[run], *shown.path[1:]) for run in part["run"])
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


def by_place(analysis: dict[str, Any], kind: str, *path: str) -> dict[str, float | None]:
    """Returns a measure of one run at each place of a kind."""
    kinds = ATTENTIONS if kind == "attention" else (kind,)
    places = analysis.get("places") or {}
    return {name: read_path(place, path) for name, place in places.items() if place["kind"] in kinds}


def position(place: str) -> tuple[bool, str, int]:
    """Sorts the encoder before the decoder, each kind of memory by layer."""
    stack, layer, memory = place.split(".")
    return stack != "encoder", memory, int(layer)


def short(place: str) -> str:
    """`encoder.0.ffn` -> `enc 1`, `decoder.1.cross_attention` -> `cross 2`."""
    stack, layer, memory = place.split(".")
    return f"{SHORT.get(memory, SHORT[stack])} {int(layer) + 1}"


def draw_top_shares(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    frame = plot.frame()
    analyses = {run: plot.read(run, ANALYSIS) or {} for run in frame["run"]}
    figure, panels = grid(len(plot.config.y), size=(4.2, 3.2))
    handles: dict[str, Any] = {}
    for axes, name in zip(panels, plot.config.y, strict=True):
        kind, _, measure = name.partition(".")
        axes.set_title(f"{KINDS[kind]}: {CURVES[measure]}")
        for label, look in plot.looks(frame).items():
            runs = frame.loc[frame["series"] == label, "run"]
            curve = mean_of((analyses[run].get("kinds") or {}).get(kind, {}).get(measure) or {} for run in runs)
            if curve:
                points = [(float(share), curve[share]) for share in SHARES if share in curve]
                (handles[label],) = axes.plot(*zip(*points, strict=True), **look)
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
