"""The files that a study reads and writes, and the runs that it compares, all known before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reluformer.config.changes import split_system
from reluformer.config.claims import ClaimConfig
from reluformer.config.evaluation import COUNTS
from reluformer.config.experiment import Experiment, Point
from reluformer.config.metrics import ANALYSIS, ATTENTION, LOG, MEASURED, SCORES, SUMMARY, metric
from reluformer.config.run import Run, split_dataset
from reluformer.config.settings import SettingsError, nearest, parse, read_yaml
from reluformer.config.studies import FigureConfig, StudyConfig

TABLE_FORMATS = ("csv", "md", "tex", "html")
FIGURE_FORMATS = ("svg", "pdf", "png")
PAIRED = ("bleu", "tokenized_bleu", "d_bleu")
"""Metrics whose segments can be paired between systems; s-BLEU's sentences differ from system to system."""
VARIANCE_LAW, MEASURED_FILE = "paper/variance_law.json", f"paper/{MEASURED}"
"""Paths below results/ of the measurements that need no training."""
FIGURE_FILES = {
    "buckets": SCORES,
    "top-share": ANALYSIS,
    "layers": ANALYSIS,
    "training-curves": LOG,
    "learning-curves": LOG,
    "alignment-curves": LOG,
    "attention-maps": ATTENTION,
    "variance-law": ANALYSIS,
}


def study_outputs(experiment: Experiment, study: str) -> list[str]:
    """Returns the files that `build_study` writes: tables, then figures."""
    tables = [f"results/paper/tables/{study}.{form}" for form in TABLE_FORMATS]
    tables.append(f"results/paper/tables/{study}-differences.csv")
    figures = [
        f"results/paper/figures/{study}-{figure}.{form}"
        for figure in experiment.studies[study].figures
        for form in FIGURE_FORMATS
    ]
    return tables + figures


def refuse_shared_outputs(experiment: Experiment) -> None:
    """Raises `SettingsError` if two studies would write one file: figure b-c of a, and figure c of a-b."""
    writers: dict[str, str] = {}
    for study in experiment.studies:
        for path in study_outputs(experiment, study):
            other = writers.setdefault(path.casefold(), study)
            if other != study:
                raise SettingsError(f"studies {other} and {study} both write {path}; rename a study or a figure")


def study_inputs(experiment: Experiment, study: str) -> list[str]:
    """Returns exactly the files that a study's table and figures are made from.

    A study without translation scores needs no translations; one without measures of memories needs no analysis.
    """
    config, runs = experiment.studies[study], experiment.study_runs(study)
    paths = _paths(experiment, runs, table_files(config, runs))
    for figure in config.figures.values():
        paths += _paths(experiment, figure_runs(experiment, study, figure), figure_files(figure))
        if figure.kind == "variance-law":
            paths.append(f"results/{VARIANCE_LAW}")
    if paired_kinds(experiment, study):
        paths.append(f"results/{significance_file(study)}")
    return list(dict.fromkeys(paths))


def _paths(experiment: Experiment, runs: Iterable[Run], files: Iterable[str]) -> list[str]:
    """Returns the paths of these files of runs; speed and memory, which belong to no run, if a study measures them."""
    paths = [f"results/runs/{run.path}/{file}" for run in runs for file in files if file != MEASURED]
    return [*paths, *([f"results/{MEASURED_FILE}"] if MEASURED in files and experiment.measured_study else [])]


def significance_file(study: str) -> str:
    """Returns the path below results/ of the paired tests between the runs of a study."""
    return f"paper/significance/{study}.json"


def significance_inputs(experiment: Experiment, study: str) -> list[str]:
    """Returns the files of runs that a study's paired tests are made from."""
    return [f"results/runs/{run.path}/{COUNTS}" for run in experiment.study_runs(study)]


def paired_kinds(experiment: Experiment, study: str) -> list[str]:
    """Returns the kinds of BLEU by which a study's runs are tested in pairs."""
    return [name for name in experiment.studies[study].columns if name in PAIRED]


def claims_outputs() -> list[str]:
    """Returns the files that `build_claims` writes."""
    return [f"results/paper/claims.{form}" for form in ("json", "md", "html")]


def claims_inputs(experiment: Experiment) -> list[str]:
    """Returns the files of runs that the verdicts rest on. Raises `SettingsError` for a mistake in claims.yaml."""
    paths: list[str] = []
    for claim in read_claims(experiment).values():
        if claim.study in experiment.studies:
            files = dict.fromkeys([SUMMARY, *(metric(rule.metric).file for rule in claim.rule)])
            paths += _paths(experiment, experiment.study_runs(claim.study), files)
            if paired_kinds(experiment, claim.study):
                paths.append(f"results/{significance_file(claim.study)}")
    return list(dict.fromkeys(paths))


def read_claims(experiment: Experiment) -> dict[str, ClaimConfig]:
    """Returns the claims of claims.yaml and of the configuration by id, checked against the studies.

    With `only` in the configuration, just those on the chosen studies. Raises `SettingsError`.
    """
    path, own = experiment.folder / "claims.yaml", experiment.config.claims
    claims = {name: parse(ClaimConfig, data, f"{path}: {name}") for name, data in read_yaml(path).items()} | own
    written = read_yaml(experiment.folder / "studies.yaml")
    studies = experiment.config.studies | written
    for name, claim in claims.items():
        where = f"{experiment.name}: claims.{name}" if name in own else f"{path}: {name}"
        if claim.study is not None and claim.study not in studies:
            raise SettingsError(f"{where}: study: {claim.study!r}: unknown study{nearest(claim.study, studies)}")
        if claim.study in experiment.studies:
            # Against the study as written, so a configuration that drops a system leaves its claims "not run".
            study = parse(StudyConfig, studies[claim.study], f"{path}: {claim.study}")
            _check_rules(claim, study, where, None if claim.study in written else experiment.systems)
    if experiment.config.only:
        return {name: claim for name, claim in claims.items() if claim.study in experiment.studies}
    return claims


def _check_rules(claim: ClaimConfig, study: StudyConfig, where: str, systems: Iterable[str] | None) -> None:
    """Raises `SettingsError` for a rule's unknown system or key.

    systems: the systems by name, without changes; None: those of the study.
    """
    keys = ["length", "packing", *study.vary]
    for rule in claim.rule:
        for system in [rule.system, *([rule.than] if isinstance(rule.than, str) else [])]:
            if systems is None and system not in study.systems:
                known = nearest(system, study.systems)
                raise SettingsError(f"{where}: rule: {system!r}: not a system of study {claim.study}{known}")
            if systems is not None and (base := split_system(system).base) not in systems:
                raise SettingsError(f"{where}: rule: {system!r}: unknown system{nearest(base, systems)}")
        for key in (*rule.where, *rule.unless):
            if key not in keys:
                raise SettingsError(f"{where}: rule: {key!r}: not a key of study {claim.study}{nearest(key, keys)}")


def table_files(study: StudyConfig, runs: list[Run]) -> list[str]:
    """Returns the files of each run that the table needs; always the summary, for the status and the updates."""
    names = [*study.columns, *([study.answer.metric] if study.answer else [])]
    files = [SUMMARY, *(metric(name).file for name in names)]
    if any(segment_length(run.dataset) for run in runs):
        files.append(SCORES)  # the lengths that the footer states next to each L
    return list(dict.fromkeys(files))


def figure_files(figure: FigureConfig) -> list[str]:
    """Returns the files of each shown run that a figure needs."""
    if figure.kind in FIGURE_FILES:
        return [SUMMARY, FIGURE_FILES[figure.kind]]
    return list(dict.fromkeys([SUMMARY, *(metric(name).file for name in figure.y)]))


def figure_runs(experiment: Experiment, study: str, figure: FigureConfig) -> list[Run]:
    """Returns the runs that a figure shows: those of its systems; attention maps show one run of each."""
    points = experiment.study_points(study)
    shown = [run for run, point in points.items() if not figure.systems or point.system in figure.systems]
    if figure.kind != "attention-maps":
        return shown
    longest = max(shown, key=lambda run: segment_length(run.dataset) or 0).dataset
    first: dict[str, Run] = {}
    for run in shown:
        if run.dataset == longest:
            first.setdefault(points[run].system, run)
    return list(first.values())


def segment_length(dataset: str) -> int | None:
    """Returns L of a document view's name, `europarl7@across-1024` -> 1024; None for sentences."""
    view = split_dataset(dataset)[1]
    return int(view.rpartition("-")[2]) if view else None


def baseline(study: StudyConfig) -> dict[str, Any]:
    """Returns the keys to change in a row to get its baseline; {} for a study without a baseline."""
    if study.baseline is not None:
        return study.baseline
    return {"system": study.systems[0]} if len(study.systems) > 1 else {}


def baseline_runs(experiment: Experiment, study: str) -> dict[Run, Run]:
    """Returns the baseline's run of the same seed for each run of a study that is not the baseline itself."""
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
    """Returns the pairs of runs with the same seed that a study's table and claims compare, each once."""
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
