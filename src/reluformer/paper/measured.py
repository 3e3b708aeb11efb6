"""What `reluformer measure` found, as rows beside those of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.experiment import Experiment
from reluformer.paper.metrics import MEASURED, Metric
from reluformer.paper.records import NOT_RUN, read_json, system_title

DECODING = ("decoding_speed", "decoding_ratio")
"""Measures of the beam search; the others are of training."""


def measured_file(results: str | Path = "results") -> Path:
    """The one file of measured speed and memory."""
    return Path(results) / "paper" / MEASURED


def measured_records(experiment: Experiment, study: str, metrics: Sequence[Metric], results: Path) -> pd.DataFrame:
    """The points of a measured study as `records`: a row a system, length and round, the round as `seed`."""
    config = experiment.studies[study]
    assert config.measured is not None
    content = read_json(measured_file(results)) or {}
    found = {(p["system"], p["length"], p["round"]): p for p in content.get("points", [])}
    dataset = experiment.dataset_name(config)
    rows = []
    for length in config.measured.lengths:
        for system in config.systems:
            for number in range(1, config.measured.rounds + 1):
                point = found.get((system, length, number))
                row: dict[str, Any] = {
                    "run": f"{dataset}@{length}/{system}/round{number}",
                    "dataset": dataset,
                    "packing": None,
                    "length": length,
                    "system": system,
                    "title": system_title(experiment, system, config),
                    "seed": number,
                    "status": "finished" if point else NOT_RUN,
                    "diverged_at": None,
                }
                for metric in metrics:
                    row[metric.name], row[f"missing:{metric.name}"] = _value(metric, point)
                rows.append(row)
    return pd.DataFrame(rows)


def _value(metric: Metric, point: dict[str, Any] | None) -> tuple[float, str]:
    if point is None:
        return float("nan"), "not measured"
    value = metric.read({MEASURED: point})
    if value is not None:
        return value, ""
    part = "decoding" if metric.path[-1] in DECODING else "training"
    return float("nan"), point["problems"].get(part, "–")


def shortest(results: Path, system: str) -> dict[str, float] | None:
    """A system's measures at the shortest length, each the median over rounds; none where it was not measured."""
    content = read_json(measured_file(results)) or {}
    points = [p for p in content.get("points", []) if p["system"] == system]
    if not points:
        return None
    frame = pd.DataFrame([p for p in points if p["length"] == min(q["length"] for q in points)])
    return {str(name): float(value) for name, value in frame.median(numeric_only=True).dropna().items()}


def measured_note(results: Path) -> list[str]:
    """On what and how the measured columns of a table came about."""
    content = read_json(measured_file(results))
    if content is None:
        return ["Speed and memory are not measured yet."]
    machine, settings = content["machine"], content["settings"]
    device = machine["gpus"][0] if machine["gpus"] else f"{machine['cpu']}, threads: {content['threads']}"
    if not machine["gpus"] and content["threads"] == 1:
        device += " (processor time)"
    return [
        f"Speed and memory: {device}, torch {content['versions']['torch']}; random weights, batches of the dataset's "
        f"dimensions, {settings['batch_tokens']:,} tokens an update, systems in turn within each of "
        f"{settings['rounds']} rounds; medians over the rounds. Memory is what an update takes beside weights and "
        f"optimizer. Where a table has no length, sentences have {settings['lengths'][0]} tokens."
    ]
