"""A study's runs as one tidy frame: a row a run, with its keys, status and metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED, MISSING, SUMMARY, Metric
from reluformer.config.run import Run, split_dataset
from reluformer.config.settings import read_json
from reluformer.config.studies import SENTENCE, StudyConfig
from reluformer.paper.outputs import segment_length

NOT_RUN, DIVERGED = "not run", "diverged"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a JSON-lines file up to a half-written line; [] if there is no such file."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def system_title(experiment: Experiment, system: str, study: StudyConfig | None = None) -> str:
    """Returns a system's title: the study's, or its own with the changes in its name."""
    if study is not None and system in study.titles:
        return study.titles[system]
    base, changes = split_system(system)
    extra = ", ".join(f"{key} {value}" for key, value in changes.items() if key != "recipe")
    return experiment.systems[base].title + (f" ({extra})" if extra else "")


def read_runs(experiment: Experiment, study: str, metrics: Sequence[Metric], results: Path) -> pd.DataFrame:
    """Returns the runs of a study, in its order.

    Columns: `run` (DATASET/SYSTEM/seedN), `dataset`, `packing`, `length` (None for sentences; `sentence` in a study
    that also has segments), `system`, `title`, each varied key, `seed`, `status` (`not run`, `diverged`, or as its
    summary says), `diverged_at` (update or None), and for every metric its value or NaN, and under `missing:NAME` why
    it has none.
    """
    if experiment.studies[study].measured:
        return read_measured(experiment, study, metrics, results)
    return pd.DataFrame([_row(experiment, study, run, metrics, results) for run in experiment.study_runs(study)])


def _row(experiment: Experiment, study: str, run: Run, metrics: Sequence[Metric], results: Path) -> dict[str, Any]:
    config = experiment.studies[study]
    view = split_dataset(run.dataset)[1]
    _, system, values = experiment.study_points(study)[run]
    folder = results / "runs" / run.path
    files = {file: read_json(folder / file) for file in {SUMMARY, *(metric.file for metric in metrics)}}
    if MEASURED in files:
        files[MEASURED] = shortest(results, system)
    summary = files[SUMMARY]
    row: dict[str, Any] = {
        "run": run.path,
        "dataset": split_dataset(run.dataset)[0],
        "packing": view.rpartition("-")[0] if view else None,
        "length": segment_length(run.dataset) or (SENTENCE if SENTENCE in config.lengths else None),
        "system": system,
        "title": system_title(experiment, system, config),
        **dict(zip(config.vary, values, strict=True)),
        "seed": run.seed,
        "status": summary["status"] if summary else NOT_RUN,
        "diverged_at": summary.get("diverged_at") if summary else None,
    }
    for metric in metrics:
        row[metric.name], row[f"missing:{metric.name}"] = _value(metric, files)
    return row


def _value(metric: Metric, files: dict[str, Any]) -> tuple[float, str]:
    summary = files[SUMMARY]
    if summary is None:
        return float("nan"), NOT_RUN
    value = metric.read(files)
    if summary["status"] == DIVERGED and not metric.survives:
        return float("nan"), DIVERGED
    if value is not None:
        return value, ""
    return float("nan"), MISSING.get(metric.file, "") if files.get(metric.file) is None else "–"


DECODING = ("decoding_speed", "decoding_ratio")
"""Measures of the beam search; the others are measures of training."""


def measured_file(results: str | Path = "results") -> Path:
    """Returns the path of the measured speed and memory."""
    return Path(results) / "paper" / MEASURED


def read_measured(experiment: Experiment, study: str, metrics: Sequence[Metric], results: Path) -> pd.DataFrame:
    """Returns a measured study like `read_runs`: a row for each length, system and round, the round as `seed`."""
    config = experiment.studies[study]
    measured = config.measured
    assert measured is not None
    content = read_json(measured_file(results)) or {}
    points = {(point["system"], point["length"], point["round"]): point for point in content.get("points", [])}
    dataset = experiment.dataset_name(config)
    rows = []
    for length, system, number in product(measured.lengths, config.systems, range(1, measured.rounds + 1)):
        point = points.get((system, length, number))
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
            row[metric.name], row[f"missing:{metric.name}"] = _measured_value(metric, point)
        rows.append(row)
    return pd.DataFrame(rows)


def _measured_value(metric: Metric, point: dict[str, Any] | None) -> tuple[float, str]:
    if point is None:
        return float("nan"), "not measured"
    value = metric.read({MEASURED: point})
    if value is not None:
        return value, ""
    part = "decoding" if metric.path[-1] in DECODING else "training"
    return float("nan"), point["problems"].get(part, "–")


def shortest(results: Path, system: str) -> dict[str, float] | None:
    """Returns a system's measures at the shortest length, each the median over rounds; None if it was not measured."""
    content = read_json(measured_file(results)) or {}
    points = [p for p in content.get("points", []) if p["system"] == system]
    if not points:
        return None
    frame = pd.DataFrame([p for p in points if p["length"] == min(q["length"] for q in points)])
    return {str(name): float(value) for name, value in frame.median(numeric_only=True).dropna().items()}


def measured_note(results: Path) -> list[str]:
    """Returns on what machine and how speed and memory were measured."""
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
