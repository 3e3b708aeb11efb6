"""The plan of an experiment: its runs and their cost, the disk they fill, and how long it takes on so many devices."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reluformer.cli.planning.gpus import PREPARED_PAIRS, START, Card, Rates, assumptions, modelled
from reluformer.cli.planning.jobs import ON_A_DEVICE, Job, list_jobs
from reluformer.cli.planning.kinds import Kind, all_runs, key_of, list_kinds, with_vocabulary
from reluformer.cli.planning.points import points_seconds
from reluformer.cli.planning.schedule import Task, critical_path, makespan
from reluformer.cli.planning.scoring import STATED, Scoring, paired_seconds
from reluformer.cli.planning.sizes import Sizes, read_sizes
from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.model.flops import parameters
from reluformer.paper.comparisons import compared_runs
from reluformer.paper.outputs import paired_kinds

ANALYSIS_PASSES = 2
"""Forward passes over the test split that an analysis takes, about."""
ID_BYTES, TEXT_BYTES = 2, 8
"""A token's bytes in a token store; and as text, raw and tokenised, about."""
STATE_BYTES = 12
"""A checkpoint's bytes a parameter: fp32 weights and Adam's two moments."""


class Basis(NamedTuple):
    """What a plan rests on: rates of every kind, the start of every step, scoring; and that in words."""

    rates: Mapping[str, Rates]
    starts: Mapping[str, float]
    scoring: Scoring
    words: list[str]
    device: str
    on_gpus: bool


def collect(experiment: Experiment, corpora: Path) -> tuple[dict[str, Sizes], dict[str, Kind]]:
    """The sizes of each corpus and of each run's dataset, and the kinds of runs. Raises `SettingsError`."""
    names = dict.fromkeys([*experiment.datasets, *(run.dataset for run in all_runs(experiment))])
    sizes = {name: read_sizes(name, experiment.dataset(name), corpora) for name in names}
    return sizes, list_kinds(experiment, sizes)


def stated(kinds: Mapping[str, Kind], sizes: Mapping[str, Sizes], card: Card, utilisation: float) -> Basis:
    """A plan on a card that is not at hand."""
    rates = {key: modelled(kind.config, sizes[kind.config.dataset], card, utilisation) for key, kind in kinds.items()}
    return Basis(rates, START, STATED, assumptions(card, utilisation), card.title, True)


def job_seconds(job: Job, experiment: Experiment, sizes: Mapping[str, Sizes], basis: Basis) -> float:
    """How long one job takes."""
    if job.step == "prepare":
        base = job.name.split(" ")[1]
        return sum(split.pairs for split in sizes[base].splits()) / PREPARED_PAIRS
    start = basis.starts.get(job.step, basis.starts["score"])
    if job.step in ("claims", "report"):
        start = basis.starts.get(job.step, basis.starts["study"])
    if job.step == "measure":
        return basis.starts["translate"] + points_seconds(experiment, sizes, basis.rates, basis.starts["point"])
    if job.step == "variance_law":
        return basis.starts["analyse"]
    if job.step == "significance":
        return start + _significance_seconds(job.name.split(" ")[1], experiment, sizes, basis)
    if job.run is None:
        return start
    if job.step == "score":
        return start + basis.scoring.line * sizes[split_dataset(job.run.dataset)[0]].test.pairs
    config = experiment.runs[job.run] if job.run in experiment.runs else experiment.resolve(job.run)
    rates, found = basis.rates[key_of(config)], sizes[job.run.dataset]
    forward = rates.update / 3 / config.training.batch_tokens  # seconds a target token, without its gradient
    if job.step == "translate":
        return start + rates.decode * found.test.tokens("tgt")
    if job.step == "analyse":
        return start + ANALYSIS_PASSES * forward * found.test.tokens("tgt")
    training = config.training
    validations = -(-training.updates // training.validate_every)
    greedy = rates.decode / config.translation.beam if training.measures_bleu else 0.0
    return start + rates.update * training.updates + validations * (forward + greedy) * found.valid.tokens("tgt")


def _significance_seconds(study: str, experiment: Experiment, sizes: Mapping[str, Sizes], basis: Basis) -> float:
    """The paired tests of a study: of each pair of its runs, by each kind of BLEU."""
    config = experiment.config.significance
    pairs = [
        paired_seconds(basis.scoring, sizes[one.dataset].test.pairs, config)
        for one, _ in compared_runs(experiment, study)
    ]
    return len(paired_kinds(experiment, study)) * sum(pairs)


def job_slots(job: Job, experiment: Experiment, on_gpus: bool) -> int:
    """Devices (else cores) that a job holds."""
    if job.step == "train" and job.run is not None:
        training = experiment.resolve(job.run).training
        return training.processes * (training.nodes if on_gpus else training.threads or 1)
    if on_gpus:
        return 1 if job.step in ON_A_DEVICE else 0
    return 1_000_000 if job.step in ("prepare", "measure") else 1


def make_plan(
    experiment: Experiment, sizes: Mapping[str, Sizes], kinds: Mapping[str, Kind], basis: Basis, devices: int
) -> dict[str, Any]:
    """The plan as data: `runs`, `kinds`, `steps`, `totals`, `disk`, `time`, `basis`; seconds and bytes throughout."""
    jobs = list_jobs(experiment)
    tasks = [
        Task(job.name, job_seconds(job, experiment, sizes, basis), job_slots(job, experiment, basis.on_gpus), job.after)
        for job in jobs
    ]
    seconds = {task.name: task.seconds for task in tasks}
    held = {task.name: task.seconds * min(task.slots, devices) for task in tasks}
    device_seconds = sum(held[job.name] for job in jobs if not basis.on_gpus or job.step in ON_A_DEVICE)
    runs = [_run_row(experiment, run.path, config, sizes, seconds) for run, config in all_runs(experiment).items()]
    chain = critical_path(tasks)
    counts = Counter(job.step for job in jobs)
    by_step: dict[str, float] = defaultdict(float)
    for job in jobs:
        by_step[job.step] += seconds[job.name]
    return {
        "title": experiment.config.title,
        "device": basis.device,
        "devices": devices,
        "unit": "GPU" if basis.on_gpus else "core",
        "runs": runs,
        "kinds": [_kind_row(kind, basis.rates[key], sizes) for key, kind in kinds.items()],
        "steps": {step: {"jobs": counts[step], "seconds": by_step[step]} for step in by_step},
        "groups": _groups(experiment, runs),
        "stages": _stages(experiment, runs),
        "totals": {
            "runs": len(runs),
            "updates": sum(row["updates"] for row in runs),
            "target_tokens": sum(row["target_tokens"] for row in runs),
            "device_hours": device_seconds / 3600,
        },
        "time": {
            "seconds": makespan(tasks, devices),
            "critical_path_seconds": sum(task.seconds for task in chain),
            "critical_path": [{"job": task.name, "seconds": task.seconds} for task in chain],
        },
        "disk": _disk(experiment, kinds, sizes, devices),
        "basis": [*basis.words, *_corpus_words(sizes), *_upper_bounds(experiment)],
    }


def _run_row(
    experiment: Experiment, path: str, config: RunConfig, sizes: Mapping[str, Sizes], seconds: Mapping[str, float]
) -> dict[str, Any]:
    steps = {
        step: seconds[f"{step} {path}"]
        for step in ("train", "translate", "score", "analyse")
        if f"{step} {path}" in seconds
    }
    return {
        "run": path,
        "dataset": config.dataset,
        "system": config.system,
        "seed": config.seed,
        "tuning": not experiment.tuning.takes(Run.parse(path)),
        "parameters": parameters(with_vocabulary(config, sizes[config.dataset].vocabulary).model),
        "updates": config.training.updates,
        "target_tokens": config.training.updates * config.training.batch_tokens,
        "seconds": steps,
    }


def _groups(experiment: Experiment, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs added up by dataset view and system."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for row in runs:
        system = split_system(row["system"]).base
        key = (row["dataset"], f"{system} (tuning)" if row["tuning"] else system)
        group = groups.setdefault(
            key, {"dataset": key[0], "system": key[1], "runs": 0, "updates": 0, "target_tokens": 0, "seconds": 0.0}
        )
        group["runs"] += 1
        for name in ("updates", "target_tokens"):
            group[name] += row[name]
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


def _kind_row(kind: Kind, rates: Rates, sizes: Mapping[str, Sizes]) -> dict[str, Any]:
    tokens = kind.config.training.batch_tokens
    return {
        "kind": kind.name,
        "runs": kind.runs,
        "processes": kind.config.training.processes * kind.config.training.nodes,
        "seconds_an_update": rates.update,
        "training_tokens_a_second": tokens / rates.update,
        "decoding_tokens_a_second": 1 / rates.decode,
        "note": rates.note,
    }


def _disk(
    experiment: Experiment, kinds: Mapping[str, Kind], sizes: Mapping[str, Sizes], devices: int
) -> dict[str, int]:
    """Bytes: final models, the checkpoints of as many trainings as go on at once, token stores and text."""
    models, states = 0, []
    for config in all_runs(experiment).values():
        count = parameters(kinds[key_of(config)].config.model)
        models += 4 * count
        kept = max(config.training.keep, config.training.average_last)
        states.append(STATE_BYTES * count * kept)
    text = 0
    for name, found in sizes.items():
        tokens = sum(int(split.tokens(side)) for split in found.splits() for side in ("src", "tgt"))
        text += tokens * (ID_BYTES if "@" in name else ID_BYTES + TEXT_BYTES)
    return {"models": models, "checkpoints": sum(sorted(states)[-devices:]), "corpora": text}


def _corpus_words(sizes: Mapping[str, Sizes]) -> list[str]:
    prepared = [name for name, found in sizes.items() if found.prepared]
    others = [name for name, found in sizes.items() if not found.prepared]
    words = [f"Lengths are those of the prepared corpus: {', '.join(prepared)}."] if prepared else []
    if others:
        words.append(f"Not prepared, so lengths are drawn from the `sizes` of the dataset's file: {', '.join(others)}.")
    return words


def _upper_bounds(experiment: Experiment) -> list[str]:
    words = ["Every run is counted to its last update; one that diverges ends before it."]
    if any(config.training.patience for config in experiment.runs.values()):
        words.append("Runs with `patience` may stop earlier, too.")
    return words
