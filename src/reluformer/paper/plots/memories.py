"""Measures of the memories, a line for each system: by layer, by share of the slots, and the output's variance by n."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from reluformer.config.changes import read_path
from reluformer.config.metrics import ANALYSIS, CURVES, KINDS, SHARES, metric
from reluformer.config.settings import read_json
from reluformer.paper.outputs import VARIANCE_LAW
from reluformer.paper.plots.base import Drawing, Plot, empty, grid, mean_of, name_panel

ATTENTIONS = ("encoder_attention", "decoder_attention", "cross_attention")
SHORT = {"encoder": "enc", "decoder": "dec", "cross_attention": "cross"}
GAUSSIAN = {
    "relu": ("ReLU, measured", "attention-relu"),
    "relu-scaled": ("scaled ReLU (Eq. 6), measured", "attention-relu-scaled"),
    "softmax": ("Softmax, measured", "transformer"),
}
"""Activations of variance_law.json: their titles, and the systems whose looks they share."""


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
        values = [value for curve in series.values() for value in curve.values()]
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
    """Returns a place's label: `encoder.0.ffn` -> `enc 1`, `decoder.1.cross_attention` -> `cross 2`."""
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


def draw_variance_law(plot: Plot) -> Drawing:
    """Draws the variance of an attention's output against n: in theory, on Gaussian inputs, and in trained models."""
    frame = plot.frame()
    figure, (left, right) = grid(2, size=(5.0, 3.5))
    left.set_title("Gaussian inputs")
    law = read_json(plot.results / VARIANCE_LAW)
    draw_law(left, plot, law)
    places = {run: shown_place(plot.read(run, ANALYSIS), plot) for run in frame["run"]}
    right.set_title(f"trained models: {next((place[0] for place in places.values() if place), 'last layer')}")
    handles: dict[str, Any] = {}
    for label, look in plot.looks(frame).items():
        runs = frame.loc[frame["series"] == label, "run"]
        points = sorted(mean_of(variances(place[1]) for run in runs if (place := places[run])).items())
        if points:
            (handles[label],) = right.plot(*zip(*points, strict=True), **look)
    if handles:
        scale(right, "tokens attended to")
    else:
        empty(right, "no run has it")
    return Drawing(figure, [*law_notes(law), *plot.notes(frame)], handles)


def law_notes(law: dict[str, Any] | None) -> list[str]:
    """Returns how close the measured variance of ReLU is to n/2, over all n."""
    if law is None or "relu" not in law["measured"]:
        return []
    ratios = [measured / theory for measured, theory in zip(law["measured"]["relu"], law["theory_direct"], strict=True)]
    return [f"Gaussian inputs: the measured variance of ReLU is {min(ratios):.2f} to {max(ratios):.2f} times n/2."]


def draw_law(axes: Axes, plot: Plot, law: dict[str, Any] | None) -> None:
    """Draws theory as a dashed line, each activation's measured variance as points."""
    if law is None:
        empty(axes, "not measured yet")
        return
    axes.plot(law["n"], law["theory_direct"], color="#555555", linestyle="--", label="theory for ReLU: n/2")
    for activation, variance in law["measured"].items():
        label, system = GAUSSIAN.get(activation, (f"{activation}, measured", ""))
        look = plot.look(system) if system in plot.experiment.systems else {"marker": "."}
        axes.plot(law["n"], variance, label=label, **{**look, "linestyle": "none"})
    scale(axes, "n")
    axes.legend(loc="best", fontsize=8)


def scale(axes: Axes, title: str) -> None:
    """Sets logarithmic axes, which make a power law a line; y stays linear if the variance hardly changes."""
    axes.set_xscale("log", base=2)
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    if values.max() > 10 * values.min():
        axes.set_yscale("log")
    axes.set_xlabel(title)
    axes.set_ylabel("variance of the output")


def shown_place(analysis: dict[str, Any] | None, plot: Plot) -> tuple[str, dict[str, Any]] | None:
    """Returns the place of one run that the figure shows, e.g. `encoder.5.attention`, and its measures, if any."""
    kind, layer = f"{plot.config.attention}_attention", plot.config.layer
    places = ((analysis or {}).get("places") or {}).items()
    matching = [(name, place) for name, place in places if place["kind"] == kind]
    return matching[layer] if -len(matching) <= layer < len(matching) else None


def variances(place: dict[str, Any]) -> dict[float, float | None]:
    """Returns the variance of a place's output by n."""
    curve = place.get("variance_by_length") or {"lengths": [], "variance": []}
    return dict(zip(curve["lengths"], curve["variance"], strict=True))
