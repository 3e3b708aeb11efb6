"""The plan of an experiment: its runs, their cost, the disk space they need, and their time on N devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import networkx as nx  # type: ignore[import-untyped]
import pandas as pd
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from reluformer.cli.costs import Sizes, Speed, duration, job_seconds, read_sizes
from reluformer.cli.jobs import ON_GPU, Job, list_jobs
from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig
from reluformer.model.flops import parameters

ID_BYTES, TEXT_BYTES = 2, 8
"""Bytes per token in a token store, and as raw and tokenised text, roughly."""
STATE_BYTES = 12
"""Bytes per parameter in a checkpoint: fp32 weights and Adam's two moments."""
SUMMED = ["updates", "target_tokens", "runs", "seconds"]
RUN_FIELDS = ["dataset", "stage", "parameters", "checkpoints", "updates", "target_tokens"]
RUN_STEPS = ("train", "translate", "score", "analyse")


def all_runs(experiment: Experiment) -> dict[Run, RunConfig]:
    """Returns the tuning runs and those of all studies."""
    return {**experiment.tuning.runs(), **experiment.runs}


def all_sizes(experiment: Experiment, corpora: Path) -> dict[str, Sizes]:
    """Returns the sizes of each corpus and of each run's dataset. Raises `SettingsError`."""
    names = dict.fromkeys([*experiment.datasets, *(run.dataset for run in all_runs(experiment))])
    return {name: read_sizes(name, experiment.dataset(name), corpora) for name in names}


def make_plan(experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed, devices: int) -> dict[str, Any]:
    """Returns the plan as plain data, in seconds and bytes: `runs`, `steps`, `totals`, `disk`, `time`, `basis`, ..."""
    jobs = list_jobs(experiment)
    seconds = {job.name: job_seconds(job, experiment, sizes, speed) for job in jobs}
    device_seconds = sum(
        seconds[job.name] * min(devices_of(job, experiment, speed.on_gpus, devices), devices) for job in jobs
    )
    chain = critical_path(jobs, seconds)
    longest = sum(seconds[name] for name in chain)
    rows = _runs(experiment, sizes, seconds)
    runs = pd.DataFrame(rows, columns=RUN_FIELDS).assign(
        system=[split_system(row["system"]).base + " (tuning)" * row["tuning"] for row in rows],
        seconds=[sum(row["seconds"].values()) for row in rows],
        runs=1,
    )
    steps = pd.DataFrame({"step": job.step, "jobs": 1, "seconds": seconds[job.name]} for job in jobs)
    return {
        "title": experiment.config.title,
        "device": speed.device,
        "devices": devices,
        "unit": "GPU" if speed.on_gpus else "core",
        "runs": rows,
        "groups": _sums(runs, ["dataset", "system"], SUMMED),
        "stages": _sums(runs, ["stage"], SUMMED),
        "steps": {row["step"]: row for row in _sums(steps, ["step"], ["jobs", "seconds"])},
        "totals": {**runs[["runs", "updates", "target_tokens"]].sum().to_dict(), "device_hours": device_seconds / 3600},
        "time": {
            "seconds": max(device_seconds / devices, longest),
            "critical_path_seconds": longest,
            "critical_path": [{"job": name, "seconds": seconds[name]} for name in chain],
        },
        "disk": _disk(runs, sizes, devices),
        "basis": _basis(experiment, sizes, speed),
    }


def _sums(frame: pd.DataFrame, by: list[str], columns: list[str]) -> list[dict[str, Any]]:
    """Returns the sums of a frame's columns by other columns, in the order of their first rows."""
    return cast(list[dict[str, Any]], frame.groupby(by, sort=False)[columns].sum().reset_index().to_dict("records"))


def devices_of(job: Job, experiment: Experiment, on_gpus: bool, devices: int) -> int:
    """Returns the number of GPUs that a job occupies; without GPUs, of cores, out of `devices`."""
    if job.step == "train" and job.run is not None:
        training = experiment.resolve(job.run).training
        return training.processes * (training.nodes if on_gpus else training.threads or 1)
    if on_gpus:
        return int(job.step in ON_GPU)
    return devices if job.step in ("prepare", "measure") else 1


def critical_path(jobs: Sequence[Job], seconds: Mapping[str, float]) -> list[str]:
    """Returns the longest chain of jobs that wait for each other."""
    waits = nx.DiGraph()
    for job in jobs:
        for earlier in job.after or ("the start",):
            waits.add_edge(earlier, job.name, weight=seconds[job.name])
    return list(nx.dag_longest_path(waits)[1:])


def _runs(experiment: Experiment, sizes: Mapping[str, Sizes], seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Returns a row for each run."""
    stages = {run: stage for stage, runs in experiment.stage_runs().items() for run in runs}
    return [
        {
            "run": run.path,
            "dataset": config.dataset,
            "system": config.system,
            "seed": config.seed,
            "tuning": not experiment.tuning.takes(run),
            "stage": stages.get(run, "tuning"),
            "parameters": parameters(config.with_vocabulary(sizes[config.dataset].vocabulary).model),
            "checkpoints": max(config.training.keep, config.training.average_last),
            "updates": config.training.updates,
            "target_tokens": config.training.updates * config.training.batch_tokens,
            "seconds": {step: seconds[name] for step in RUN_STEPS if (name := f"{step} {run.path}") in seconds},
        }
        for run, config in all_runs(experiment).items()
    ]


def _disk(runs: pd.DataFrame, sizes: Mapping[str, Sizes], devices: int) -> dict[str, int]:
    """Returns the bytes of final models, of token stores and text, and of `devices` trainings' checkpoints at once."""
    tokens = {name: int(sum(split.src + split.tgt for split in size[:3])) for name, size in sizes.items()}
    checkpoints = STATE_BYTES * runs["parameters"] * runs["checkpoints"]
    return {
        "models": int(4 * runs["parameters"].sum()),
        "checkpoints": int(checkpoints.sort_values(ascending=False).head(devices).sum()),
        "corpora": sum(count * (ID_BYTES + TEXT_BYTES * ("@" not in name)) for name, count in tokens.items()),
    }


def _basis(experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> list[str]:
    """Returns the assumptions of the plan, in sentences."""
    prepared = ", ".join(name for name, size in sizes.items() if size.prepared)
    estimated = ", ".join(name for name, size in sizes.items() if not size.prepared)
    patience = any(config.training.patience for config in experiment.runs.values())
    sentences = {
        "Starting, preparing, scoring and testing are assumed to take fixed times.": True,
        f"Lengths are those of the prepared corpus: {prepared}.": prepared,
        f"Not prepared, so lengths follow `sizes` in the dataset's file: {estimated}.": estimated,
        "Every run is counted to its last update; a run that diverges ends earlier.": True,
        "Runs with `patience` may stop earlier, too.": patience,
        "The wall time is a lower bound: all the work spread evenly, or the critical path.": True,
    }
    return [*speed.assumptions, *(sentence for sentence, holds in sentences.items() if holds)]


def show(plan: dict[str, Any], console: Console) -> None:
    """Prints the runs by dataset and system, stages, jobs, totals and assumptions."""
    unit, totals, time, disk = plan["unit"], plan["totals"], plan["time"], plan["disk"]
    table = _table(f"{plan['title']}: runs", ["dataset", "system"], "runs", "updates", "target tokens", f"{unit}-hours")
    for group in plan["groups"]:
        table.add_row(group["dataset"], group["system"], *_counts(group), _hours(group["seconds"]))
    table.add_section()
    table.add_row("all", "", *_counts(totals), _hours(3600 * totals["device_hours"]))
    console.print(table)

    if len(plan["stages"]) > 1:
        table = _table("What each stage adds", ["stage"], "runs", f"{unit}-hours")
        for row in plan["stages"]:
            table.add_row(row["stage"], f"{row['runs']}", _hours(row["seconds"]))
        console.print(table)

    table = _table("Jobs", ["step"], "jobs", "hours", "mean")
    for step, row in plan["steps"].items():
        table.add_row(step, f"{row['jobs']}", _hours(row["seconds"]), duration(row["seconds"] / row["jobs"]))
    console.print(table)

    chain = " → ".join(f"{part['job']} ({duration(part['seconds'])})" for part in time["critical_path"])
    lines = [
        f"{totals['device_hours']:,.1f} {unit}-hours on: {plan['device']}",
        f"At least {duration(time['seconds'])} on {plan['devices']} {unit}{'s' * (plan['devices'] > 1)}",
        f"{duration(time['critical_path_seconds'])} on any number of them, the critical path: {chain}",
        f"Disk: {decimal(disk['models'])} of models, about {decimal(disk['corpora'])} of corpora, and "
        f"{decimal(disk['checkpoints'])} of checkpoints while {plan['devices']} trainings run",
        "",
        "Assumptions:",
        *(f"- {line}" for line in plan["basis"]),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, texts: Sequence[str], *numbers: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _counts(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['runs']}", f"{row['updates']:,}", f"{row['target_tokens'] / 1e6:,.1f} M"]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}"
