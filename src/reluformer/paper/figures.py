"""Draws the figures of a study: each kind is a module of `reluformer.paper.plots`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from reluformer.experiment import Experiment
from reluformer.paper.notes import toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS
from reluformer.paper.plots import (
    attention_maps,
    bars,
    buckets,
    layers,
    lines,
    top_share,
    training_curves,
    variance_law,
)
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import finish, save, style

KINDS: dict[str, Callable[[Plot], tuple[Figure, list[str]]]] = {
    "lines": lines.draw,
    "bars": bars.draw,
    "layers": layers.draw,
    "buckets": buckets.draw,
    "top-share": top_share.draw,
    "training-curves": training_curves.draw,
    "variance-law": variance_law.draw,
    "attention-maps": attention_maps.draw,
}


def draw(experiment: Experiment, study: str, results: Path) -> None:
    """Writes every figure of a study as `results/paper/figures/STUDY-FIGURE.{svg,png}`."""
    for name, config in experiment.studies[study].figures.items():
        with style():
            figure, notes = KINDS[config.kind](Plot(experiment, study, config, results))
            finish(figure, config.title, notes, toy_stamp(experiment))
            for form in FIGURE_FORMATS:
                save(figure, results / "paper" / "figures" / f"{study}-{name}.{form}")
