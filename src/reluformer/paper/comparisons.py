"""Which runs of a study are compared: every row with the study's baseline, and the systems of its claims' rules.

By name alone, as the files of a study are; asked before anything runs.
"""

from __future__ import annotations

from typing import Any

from reluformer.config.experiment import Experiment, Point
from reluformer.config.run import Run
from reluformer.config.studies import StudyConfig
from reluformer.paper.outputs import PAIRED, read_claims


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
    runs = {(point, run.seed): run for run, point in experiment.study_points(study).items()}
    for (at, seed), run in runs.items():
        values = tuple(change.get(key, value) for key, value in zip(config.vary, at.values, strict=True))
        other = runs.get((Point(at.dataset, change.get("system", at.system), values), seed))
        if other is not None and other != run:
            pairs[run] = other
    return pairs


def compared_runs(experiment: Experiment, study: str) -> list[tuple[Run, Run]]:
    """The pairs of runs of one seed that a study's table and claims compare, each once."""
    pairs = dict.fromkeys(baseline_runs(experiment, study).items())
    runs = {(point, run.seed): run for run, point in experiment.study_points(study).items()}
    rules = [rule for claim in read_claims(experiment).values() if claim.study == study for rule in claim.rule]
    for rule in rules:
        if rule.metric not in PAIRED or not isinstance(rule.than, str):
            continue
        for (at, seed), run in runs.items():
            other = runs.get((at._replace(system=rule.than), seed))
            if at.system == rule.system and other is not None and (other, run) not in pairs:
                pairs[run, other] = None
    return list(pairs)
