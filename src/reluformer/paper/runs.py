"""A study's runs as a tidy frame: a row for each run, with its keys, status and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED, MISSING, SUMMARY, Metric
from reluformer.config.run import split_dataset
from reluformer.config.settings import read_json
from reluformer.config.studies import SENTENCE, StudyConfig
from reluformer.paper.outputs import MEASURED_FILE, segment_length

NOT_RUN, DIVERGED = "not run", "diverged"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a JSON-lines file up to an incomplete line; [] if there is no such file."""
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
    """Returns the runs of a study, in its order; for a measured study a row for each length, system and round.

    Columns: `run` (DATASET/SYSTEM/seedN), `dataset`, `packing`, `length` (None for sentences; `sentence` in a study
    that also has segments), `system`, `title`, each varied key, `seed` (or the round), `status` (`not run`, `diverged`,
    or as its summary says), `diverged_at` (update or None), and for every metric its value or NaN, and under
    `missing:NAME` why it has none.
    """
    config = experiment.studies[study]
    rows = (_measured_rows if config.measured else _run_rows)(experiment, study, metrics, results)
    frame = pd.DataFrame(rows)
    return frame.assign(title=[system_title(experiment, system, config) for system in frame["system"]])


def _run_rows(experiment: Experiment, study: str, metrics: Sequence[Metric], results: Path) -> Iterator[dict[str, Any]]:
    config = experiment.studies[study]
    for run, point in experiment.study_points(study).items():
        dataset, view = split_dataset(run.dataset)
        names = {SUMMARY, *(metric.file for metric in metrics)}
        files = {file: read_json(results / "runs" / run.path / file) for file in names}
        if MEASURED in files:
            files[MEASURED] = shortest(results, point.system)
        summary = files[SUMMARY] or {"status": NOT_RUN}
        row = {
            "run": run.path,
            "dataset": dataset,
            "packing": view.rpartition("-")[0] if view else None,
            "length": segment_length(run.dataset) or (SENTENCE if SENTENCE in config.lengths else None),
            "system": point.system,
            **dict(zip(config.vary, point.values, strict=True)),
            "seed": run.seed,
            "status": summary["status"],
            "diverged_at": summary.get("diverged_at"),
        }
        for metric in metrics:
            if row["status"] == NOT_RUN or (row["status"] == DIVERGED and not metric.survives):
                row |= _columns(metric, None, row["status"])
            else:
                reason = MISSING.get(metric.file, "") if files.get(metric.file) is None else "–"
                row |= _columns(metric, metric.read(files), reason)
        yield row


def _measured_rows(
    experiment: Experiment, study: str, metrics: Sequence[Metric], results: Path
) -> Iterator[dict[str, Any]]:
    config = experiment.studies[study]
    assert config.measured is not None
    content = read_json(results / MEASURED_FILE) or {}
    points = {(point["system"], point["length"], point["round"]): point for point in content.get("points", [])}
    dataset, rounds = experiment.dataset_name(config), range(1, config.measured.rounds + 1)
    for length, system, number in product(config.measured.lengths, config.systems, rounds):
        point = points.get((system, length, number))
        row = {
            "run": f"{dataset}@{length}/{system}/round{number}",
            "dataset": dataset,
            "packing": None,
            "length": length,
            "system": system,
            "seed": number,
            "status": "finished" if point else NOT_RUN,
            "diverged_at": None,
        }
        for metric in metrics:
            part = "decoding" if metric.path[-1] in DECODING else "training"
            reason = point["problems"].get(part, "–") if point else MISSING[MEASURED]
            row |= _columns(metric, metric.read({MEASURED: point}), reason)
        yield row


def _columns(metric: Metric, value: float | None, reason: str) -> dict[str, Any]:
    return {
        metric.name: float("nan") if value is None else value,
        f"missing:{metric.name}": reason if value is None else "",
    }


DECODING = ("decoding_speed", "decoding_ratio")
"""Measures of the beam search; the others are measures of training."""


def shortest(results: Path, system: str) -> dict[str, float] | None:
    """Returns a system's measures at the shortest length, each the median over rounds; None if it was not measured."""
    content = read_json(results / MEASURED_FILE) or {}
    points = [p for p in content.get("points", []) if p["system"] == system]
    if not points:
        return None
    frame = pd.DataFrame([p for p in points if p["length"] == min(q["length"] for q in points)])
    return {str(name): float(value) for name, value in frame.median(numeric_only=True).dropna().items()}


def measured_note(results: Path) -> list[str]:
    """Returns notes on the machine and settings with which speed and memory were measured."""
    content = read_json(results / MEASURED_FILE)
    if content is None:
        return ["Speed and memory are not measured yet."]
    machine, settings = content["machine"], content["settings"]
    device = machine["gpus"][0] if machine["gpus"] else f"{machine['cpu']}, threads: {content['threads']}"
    if not machine["gpus"] and content["threads"] == 1:
        device += " (processor time)"
    return [
        f"Speed and memory: {device}, torch {content['versions']['torch']}; random weights, batches of the dataset's "
        f"dimensions, {settings['batch_tokens']:,} tokens per update, systems in turn within each of "
        f"{settings['rounds']} rounds; medians over the rounds. Memory is what an update takes beside weights and "
        f"optimizer. Where a table has no length, sentences have {settings['lengths'][0]} tokens."
    ]
