"""Draws the figures of a study: each kind is a module of `reluformer.paper.plots`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.paper.notes import toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS
from reluformer.paper.plots import (
    attention_maps,
    bars,
    buckets,
    heat_map,
    layers,
    lines,
    top_share,
    training_curves,
    variance_law,
)
from reluformer.paper.plots.plot import Plot
from reluformer.paper.plots.style import Drawing, finish, save, style

KINDS: dict[str, Callable[[Plot], Drawing]] = {
    "lines": lines.draw,
    "bars": bars.draw,
    "layers": layers.draw,
    "buckets": buckets.draw,
    "top-share": top_share.draw,
    "training-curves": training_curves.draw,
    "learning-curves": training_curves.draw,
    "heat-map": heat_map.draw,
    "variance-law": variance_law.draw,
    "attention-maps": attention_maps.draw,
}


def draw(experiment: Experiment, study: str, results: Path) -> None:
    """Writes every figure of a study as `results/paper/figures/STUDY-FIGURE.{svg,pdf,png}`."""
    for name, config in experiment.studies[study].figures.items():
        with style():
            drawing = KINDS[config.kind](Plot(experiment, study, config, results))
            figure = finish(drawing, config.title, toy_stamp(experiment))
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, for all formats
            for form in FIGURE_FORMATS:
                save(figure, results / "paper" / "figures" / f"{study}-{name}.{form}")
