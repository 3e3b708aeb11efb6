"""The plan of an experiment: its runs, what they cost, the disk they fill, and how long they take on N devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reluformer.cli.costs import Sizes, Speed, job_seconds, read_sizes, with_vocabulary
from reluformer.cli.jobs import ON_GPU, Job, list_jobs
from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig
from reluformer.model.flops import parameters

ID_BYTES, TEXT_BYTES = 2, 8
"""Bytes of a token in a token store; and as text, raw and tokenised, roughly."""
STATE_BYTES = 12
"""Bytes of a parameter in a checkpoint: fp32 weights and Adam's two moments."""


def all_runs(experiment: Experiment) -> dict[Run, RunConfig]:
    """Returns the runs of all studies, and those that tune their systems."""
    return {**experiment.runs, **experiment.tuning.runs()}


def all_sizes(experiment: Experiment, corpora: Path) -> dict[str, Sizes]:
    """Returns the sizes of each corpus and of each run's dataset. Raises `SettingsError`."""
    names = dict.fromkeys([*experiment.datasets, *(run.dataset for run in all_runs(experiment))])
    return {name: read_sizes(name, experiment.dataset(name), corpora) for name in names}


def make_plan(experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed, devices: int) -> dict[str, Any]:
    """Returns the plan as plain data, in seconds and bytes: `runs`, `steps`, `totals`, `disk`, `time`, `basis`, ..."""
    jobs = list_jobs(experiment)
    seconds = {job.name: job_seconds(job, experiment, sizes, speed) for job in jobs}
    held = [seconds[job.name] * min(devices_of(job, experiment, speed.on_gpus, devices), devices) for job in jobs]
    chain = critical_path(jobs, seconds)
    longest = sum(seconds[name] for name in chain)
    runs = [_run_row(experiment, run, config, sizes, seconds) for run, config in all_runs(experiment).items()]
    steps: dict[str, dict[str, Any]] = {}
    for job in jobs:
        row = steps.setdefault(job.step, {"jobs": 0, "seconds": 0.0})
        row["jobs"] += 1
        row["seconds"] += seconds[job.name]
    return {
        "title": experiment.config.title,
        "device": speed.device,
        "devices": devices,
        "unit": "GPU" if speed.on_gpus else "core",
        "runs": runs,
        "groups": _groups(runs),
        "stages": _stages(experiment, runs),
        "steps": steps,
        "totals": {
            "runs": len(runs),
            "updates": sum(row["updates"] for row in runs),
            "target_tokens": sum(row["target_tokens"] for row in runs),
            "device_hours": sum(held) / 3600,
        },
        "time": {
            "seconds": max(sum(held) / devices, longest),
            "critical_path_seconds": longest,
            "critical_path": [{"job": name, "seconds": seconds[name]} for name in chain],
        },
        "disk": _disk(runs, sizes, devices),
        "basis": _basis(experiment, sizes, speed),
    }


def devices_of(job: Job, experiment: Experiment, on_gpus: bool, devices: int) -> int:
    """Returns the GPUs that a job occupies; without GPUs, the cores, of `devices`."""
    if job.step == "train" and job.run is not None:
        training = experiment.resolve(job.run).training
        return training.processes * (training.nodes if on_gpus else training.threads or 1)
    if on_gpus:
        return int(job.step in ON_GPU)
    return devices if job.step in ("prepare", "measure") else 1


def critical_path(jobs: Sequence[Job], seconds: Mapping[str, float]) -> list[str]:
    """Returns the longest chain of jobs that wait for each other; `jobs` come after what they wait for."""
    ends: dict[str, float] = {}
    chains: dict[str, list[str]] = {}
    for job in jobs:
        last = max(job.after, key=ends.__getitem__, default=None)
        ends[job.name] = seconds[job.name] + (ends[last] if last else 0.0)
        chains[job.name] = [*(chains[last] if last else []), job.name]
    return chains[max(ends, key=ends.__getitem__)]


def _run_row(
    experiment: Experiment, run: Run, config: RunConfig, sizes: Mapping[str, Sizes], seconds: Mapping[str, float]
) -> dict[str, Any]:
    names = {step: f"{step} {run.path}" for step in ("train", "translate", "score", "analyse")}
    return {
        "run": run.path,
        "dataset": config.dataset,
        "system": config.system,
        "seed": config.seed,
        "tuning": not experiment.tuning.takes(run),
        "parameters": parameters(with_vocabulary(config, sizes[config.dataset].vocabulary).model),
        "checkpoints": max(config.training.keep, config.training.average_last),
        "updates": config.training.updates,
        "target_tokens": config.training.updates * config.training.batch_tokens,
        "seconds": {step: seconds[name] for step, name in names.items() if name in seconds},
    }


def _groups(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs summed by dataset view and system."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in runs:
        system = split_system(row["system"]).base + (" (tuning)" if row["tuning"] else "")
        new = {"dataset": row["dataset"], "system": system, "runs": 0, "updates": 0, "target_tokens": 0, "seconds": 0.0}
        group = groups.setdefault((row["dataset"], system), new)
        group["runs"] += 1
        group["updates"] += row["updates"]
        group["target_tokens"] += row["target_tokens"]
        group["seconds"] += sum(row["seconds"].values())
    return list(groups.values())


def _stages(experiment: Experiment, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each stage adds to those before it."""
    rows = {row["run"]: row for row in runs}
    stages = {stage: [rows[run.path] for run in added] for stage, added in experiment.stage_runs().items()}
    if tuning := [row for row in runs if row["tuning"]]:
        stages = {"tuning": tuning, **stages}
    return [
        {"stage": stage, "runs": len(added), "seconds": sum(sum(row["seconds"].values()) for row in added)}
        for stage, added in stages.items()
    ]


def _disk(runs: Sequence[dict[str, Any]], sizes: Mapping[str, Sizes], devices: int) -> dict[str, int]:
    """Bytes of the final models, of token stores and text, and of the checkpoints of `devices` trainings at once."""
    checkpoints = sorted(STATE_BYTES * row["parameters"] * row["checkpoints"] for row in runs)
    corpora = 0
    for name, size in sizes.items():
        tokens = int(sum(split.src + split.tgt for split in size.splits))
        corpora += tokens * (ID_BYTES if "@" in name else ID_BYTES + TEXT_BYTES)
    models = sum(4 * row["parameters"] for row in runs)
    return {"models": models, "checkpoints": sum(checkpoints[-devices:]), "corpora": corpora}


def _basis(experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> list[str]:
    """What the plan rests on, in sentences."""
    words = [*speed.assumptions(), "Starting, preparing, scoring and testing take stated times."]
    prepared = [name for name, size in sizes.items() if size.prepared]
    estimated = [name for name, size in sizes.items() if not size.prepared]
    words += [f"Lengths are those of the prepared corpus: {', '.join(prepared)}."] if prepared else []
    words += [f"Not prepared, so lengths follow `sizes` in the dataset's file: {', '.join(estimated)}."] * bool(
        estimated
    )
    words.append("Every run is counted to its last update; a run that diverges ends before it.")
    if any(config.training.patience for config in experiment.runs.values()):
        words.append("Runs with `patience` may stop earlier, too.")
    words.append("The wall time is a lower bound: all the work spread evenly, or the critical path.")
    return words


def show(plan: dict[str, Any], console: Console) -> None:
    """Prints runs by dataset and system, stages, jobs, the totals, and what they rest on."""
    unit, totals, time, disk = plan["unit"], plan["totals"], plan["time"], plan["disk"]
    table = _table(f"{plan['title']}: runs", "dataset", "system", "runs", "updates", "target tokens", f"{unit}-hours")
    for group in plan["groups"]:
        table.add_row(group["dataset"], group["system"], *_counts(group), _hours(group["seconds"]))
    table.add_section()
    table.add_row("all", "", *_counts(totals), _hours(3600 * totals["device_hours"]))
    console.print(table)

    if len(plan["stages"]) > 1:
        table = _table("What each stage adds", "stage", "runs", f"{unit}-hours")
        for row in plan["stages"]:
            table.add_row(row["stage"], f"{row['runs']}", _hours(row["seconds"]))
        console.print(table)

    table = _table("Jobs", "step", "jobs", "hours", "mean")
    for step, row in plan["steps"].items():
        table.add_row(step, f"{row['jobs']}", _hours(row["seconds"]), duration(row["seconds"] / row["jobs"]))
    console.print(table)

    chain = " → ".join(f"{part['job']} ({duration(part['seconds'])})" for part in time["critical_path"])
    lines = [
        f"{totals['device_hours']:,.1f} {unit}-hours on: {plan['device']}",
        f"At least {duration(time['seconds'])} on {plan['devices']} {unit}{'s' * (plan['devices'] > 1)}",
        f"{duration(time['critical_path_seconds'])} on any number of them, the critical path: {chain}",
        f"Disk: {size(disk['models'])} of models, about {size(disk['corpora'])} of corpora, and "
        f"{size(disk['checkpoints'])} of checkpoints while {plan['devices']} trainings run",
        "",
        "Assumptions:",
        *(f"- {line}" for line in plan["basis"]),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        text = name in ("dataset", "system", "stage", "step")
        table.add_column(name, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
    return table


def _counts(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['runs']}", f"{row['updates']:,}", count(row["target_tokens"])]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}"


def duration(seconds: float) -> str:
    """Formats seconds: `3 s`, `12 min 5 s`, `3 h 4 min`, `12 d 3 h`."""
    whole = round(seconds)
    for unit, length, below, smaller in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min"), ("min", 60, 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // below} {smaller}"
    return f"{whole} s"


def count(number: float) -> str:
    """Formats a number: `1.5 M`, `2.0 G`."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Formats bytes: `1.5 GB`."""
    return f"{count(number)}B"
