"""Which runs of a study are compared: every row with the study's baseline, and the systems of its claims' rules.

By name alone, as the files of a study are; asked before anything runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reluformer.experiment import Experiment
from reluformer.paper.config import StudyConfig
from reluformer.paper.outputs import PAIRED, read_claims, study_system
from reluformer.run import Run, split_system


class Point(NamedTuple):
    """What a run is within its study: everything but the seed."""

    dataset: str
    system: str
    values: tuple[Any, ...]
    """Of the varied keys, in the study's order."""


def point(study: StudyConfig, run: Run) -> Point:
    """The point of a run."""
    changes = split_system(run.system)[1]
    return Point(run.dataset, study_system(study, run), tuple(changes[key] for key in study.vary))


def baseline(study: StudyConfig) -> dict[str, Any]:
    """What is changed of a row to get the row that it is tested against; {} where a study has no baseline."""
    if study.baseline is not None:
        return study.baseline
    return {"system": study.systems[0]} if len(study.systems) > 1 else {}


def baseline_runs(experiment: Experiment, study: str) -> dict[Run, Run]:
    """Each run of a study and the run of the baseline with its seed; runs that are the baseline are left out."""
    config = experiment.studies[study]
    change = baseline(config)
    pairs = {}
    runs = {(point(config, run), run.seed): run for run in experiment.study_runs(study)}
    for (at, seed), run in runs.items():
        values = tuple(change.get(key, value) for key, value in zip(config.vary, at.values, strict=True))
        other = runs.get((Point(at.dataset, change.get("system", at.system), values), seed))
        if other is not None and other != run:
            pairs[run] = other
    return pairs


def compared_runs(experiment: Experiment, study: str) -> list[tuple[Run, Run]]:
    """The pairs of runs of one seed that a study's table and claims compare, each once."""
    config = experiment.studies[study]
    pairs = dict.fromkeys(baseline_runs(experiment, study).items())
    runs = {(point(config, run), run.seed): run for run in experiment.study_runs(study)}
    rules = [rule for claim in read_claims(experiment).values() if claim.study == study for rule in claim.rule]
    for rule in rules:
        if rule.metric not in PAIRED or not isinstance(rule.than, str):
            continue
        for (at, seed), run in runs.items():
            other = runs.get((at._replace(system=rule.than), seed))
            if at.system == rule.system and other is not None and (other, run) not in pairs:
                pairs[run, other] = None
    return list(pairs)
