"""Variance of an attention's output against n: in theory, on Gaussian inputs, and in trained models."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reluformer.config.metrics import ANALYSIS
from reluformer.config.settings import read_json
from reluformer.paper.outputs import VARIANCE_LAW
from reluformer.paper.plots.base import Drawing, Plot, empty, grid, mean_of

GAUSSIAN = {
    "relu": ("ReLU, measured", "attention-relu"),
    "relu-scaled": ("scaled ReLU (Eq. 6), measured", "attention-relu-scaled"),
    "softmax": ("Softmax, measured", "transformer"),
}
"""Activations of variance_law.json: their titles, and the systems whose looks they share."""


def draw(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    frame = plot.frame()
    figure, (left, right) = grid(2, size=(5.0, 3.5))
    left.set_title("Gaussian inputs")
    law = read_json(plot.results / VARIANCE_LAW)
    draw_law(left, plot, law)
    place = place_of(plot)
    right.set_title(f"trained models: {place or 'last layer'}")
    handles: dict[str, Any] = {}
    for label, look in plot.looks(frame).items():
        runs = frame.loc[frame["series"] == label, "run"]
        points = sorted(mean_of(variances(plot.read(run, ANALYSIS), plot) for run in runs).items())
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


def place_of(plot: Plot) -> str | None:
    """Returns the place shown for trained models, e.g. `encoder.5.attention`; None if no run is analysed."""
    for run in plot.runs:
        analysis = plot.read(run.path, ANALYSIS)
        if analysis and (names := matching(analysis, plot)):
            return names[plot.config.layer]
    return None


def matching(analysis: dict[str, Any], plot: Plot) -> list[str]:
    """Returns the places of the figure's kind of attention, by layer."""
    kind = f"{plot.config.attention}_attention"
    return [name for name, place in (analysis.get("places") or {}).items() if place["kind"] == kind]


def variances(analysis: dict[str, Any] | None, plot: Plot) -> dict[float, float | None]:
    """Returns the variance of one run's place by n."""
    names = matching(analysis, plot) if analysis else []
    if not names or not -len(names) <= plot.config.layer < len(names):
        return {}
    assert analysis is not None
    curve = analysis["places"][names[plot.config.layer]].get("variance_by_length") or {"lengths": [], "variance": []}
    return dict(zip(curve["lengths"], curve["variance"], strict=True))
