"""Losses and scores against updates, a line for each run; a diverged run ends in a cross.

`training-curves`: training loss and validation perplexity. `learning-curves`: validation loss and BLEU.
`alignment-curves`: validation loss, the part that the source explains, and dead keys. `draw_tuning`: validation BLEU
of tuning runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import LOG
from reluformer.config.run import Run
from reluformer.paper.plots.base import COLOURS, MARKERS, Drawing, Plot, empty, grid, name_panel
from reluformer.paper.runs import DIVERGED, read_lines

CURVES = {
    "training-curves": (("train", "loss", "training loss (nats/token)"), ("valid", "ppl", "validation perplexity")),
    "learning-curves": (
        ("valid", "loss", "validation loss (nats/token)"),
        ("valid", "bleu", "validation BLEU (greedy)"),
    ),
    "alignment-curves": (
        ("valid", "loss", "validation loss (nats/token)"),
        ("valid", "source_gain", "explained by the source (nats/token)"),
        ("valid", "dead_keys", "share of keys without weight in any row"),
    ),
}
"""For each kind of figure: event and key of log.jsonl, and the panel's title."""
MARKS = 8
"""Markers on a long curve, which tell it from the others in black and white."""


def draw(plot: Plot) -> Drawing:
    """Draws the figure with its notes and legend."""
    frame = plot.frame()
    handles: dict[str, Any] = {}
    looks = plot.looks(frame)
    logs = {run: read_lines(plot.results / "runs" / run / LOG) for run in frame["run"]}
    logged = {key for log in logs.values() for line in log for key in line}
    curves = [curve for curve in CURVES[plot.config.kind] if curve[1] != "dead_keys" or "dead_keys" in logged]
    figure, panels = grid(len(curves), size=(5.0, 3.3))
    for axes, (event, key, title) in zip(panels, curves, strict=True):
        axes.set_title(title)
        for number, row in enumerate(frame.to_dict("records")):
            points = [
                (entry["update"], entry[key])
                for entry in logs[row["run"]]
                if entry["event"] == event and entry.get(key) is not None and np.isfinite(entry[key])
            ]
            if points:
                look = {**looks[row["series"]], "markersize": 4}
                if len(points) > MARKS:  # each run's a little further on, so that they do not overlap
                    look["markevery"] = (number / len(frame) / MARKS, 1 / MARKS)
                handles[row["series"]] = draw_run(axes, points, row["status"] == DIVERGED, look)
        if axes.lines:
            axes.set_xlabel("updates")
            limit(axes)
        else:
            empty(axes, "no run has it")
    return Drawing(figure, [*plot.notes(frame), "One line per run."], handles)


def draw_tuning(experiment: Experiment, runs: Sequence[Run], results: Path) -> Drawing:
    """Draws the validation BLEU of tuning runs, a panel for each system and a line for each run."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(split_system(run.system).base, []).append(run)
    figure, panels = grid(len(groups), size=(4.2, 3.0), sharey=True)
    for axes, (system, members) in zip(panels, groups.items(), strict=True):
        name_panel(axes, experiment.systems[system].title)
        for number, run in enumerate(members):
            log = read_lines(results / "runs" / run.path / LOG)
            points = [(line["update"], line["bleu"]) for line in log if line["event"] == "valid" and "bleu" in line]
            if points:
                x, y = zip(*points, strict=True)
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axes.plot(x, y, color=colour, marker=marker, label=tried(run))
        axes.set_xlabel("updates")
        if axes.lines:
            axes.legend(fontsize=7, handlelength=2)
    return Drawing(figure, ["Greedy decoding of the validation set; each system's constants are chosen by these runs."])


def tried(run: Run) -> str:
    """Returns the changes of a tuning run, without its recipe."""
    changes = run.system.split("+")[1:]
    return ", ".join(change for change in changes if not change.startswith("recipe=")) or "as it is"


def draw_run(axes: Axes, points: list[tuple[int, float]], diverged: bool, look: dict[str, Any]) -> Any:
    """Draws one run's curve; returns the line for the legend."""
    x, y = zip(*points, strict=True)
    (line,) = axes.plot(x, y, alpha=0.85, **look)
    if diverged:
        axes.plot(x[-1], y[-1], marker="X", color=look["color"], markersize=8, clip_on=False)
    return line


def limit(axes: Axes) -> None:
    """Sets a logarithmic scale if a diverging run would hide the others."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    if values.min() > 0 and values.max() > 10 * np.median(values):
        axes.set_yscale("log")
