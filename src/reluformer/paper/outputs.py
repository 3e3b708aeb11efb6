"""Which files a study makes and which it needs, by path alone: asked for every study before anything runs."""

from __future__ import annotations

from reluformer.config.claims import ClaimConfig
from reluformer.config.evaluation import COUNTS
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ANALYSIS, ATTENTION, LOG, MEASURED, SCORES, SUMMARY, metric
from reluformer.config.run import Run, split_dataset
from reluformer.config.settings import SettingsError, nearest, parse, read_yaml
from reluformer.config.studies import FigureConfig, StudyConfig

TABLE_FORMATS = ("csv", "md", "tex", "html")
FIGURE_FORMATS = ("svg", "pdf", "png")
PAIRED = ("bleu", "tokenized_bleu", "d_bleu")
"""Metrics of which the segments of two systems can be paired; s-BLEU's sentences differ from system to system."""
VARIANCE_LAW = "paper/variance_law.json"
FIGURE_FILES = {
    "buckets": SCORES,
    "top-share": ANALYSIS,
    "layers": ANALYSIS,
    "training-curves": LOG,
    "learning-curves": LOG,
    "attention-maps": ATTENTION,
    "variance-law": ANALYSIS,
}


def study_outputs(experiment: Experiment, study: str, results: str = "results") -> list[str]:
    """The files that `build_study` writes for a study: its tables, then its figures."""
    tables = [f"{results}/paper/tables/{study}.{form}" for form in TABLE_FORMATS]
    tables.append(differences_file(study, results))
    figures = [
        f"{results}/paper/figures/{study}-{figure}.{form}"
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


def study_inputs(experiment: Experiment, study: str, results: str = "results") -> list[str]:
    """The files that a study's table and figures are made from, and nothing more.

    A study without a translation score needs no translations, one without measures no analysis.
    """
    config = experiment.studies[study]
    runs = experiment.study_runs(study)
    files = table_files(config, runs)
    paths = [f"{results}/runs/{run.path}/{file}" for run in runs for file in files if file != MEASURED]
    names = [*config.columns, *(name for figure in config.figures.values() for name in figure.y)]
    if experiment.measured_study and any(name.startswith("measured.") for name in names):
        paths.append(f"{results}/paper/{MEASURED}")
    for figure in config.figures.values():
        for run in figure_runs(experiment, study, figure):
            paths += [f"{results}/runs/{run.path}/{file}" for file in figure_files(figure) if file != MEASURED]
        if figure.kind == "variance-law":
            paths.append(f"{results}/{VARIANCE_LAW}")
    if paired_kinds(experiment, study):
        paths.append(significance_file(study, results))
    return list(dict.fromkeys(paths))


def differences_file(study: str, results: str = "results") -> str:
    """Every row of a study's table against the baseline: intervals and p-values."""
    return f"{results}/paper/tables/{study}-differences.csv"


def significance_file(study: str, results: str = "results") -> str:
    """The paired tests between the runs of a study."""
    return f"{results}/paper/significance/{study}.json"


def significance_inputs(experiment: Experiment, study: str, results: str = "results") -> list[str]:
    """The files of runs that a study's paired tests are made from."""
    return [f"{results}/runs/{run.path}/{COUNTS}" for run in experiment.study_runs(study)]


def paired_kinds(experiment: Experiment, study: str) -> list[str]:
    """The kinds of BLEU by which a study's runs are tested in pairs."""
    return [name for name in experiment.studies[study].columns if name in PAIRED]


def claims_outputs(results: str = "results") -> list[str]:
    """The files that `build_claims` writes."""
    return [f"{results}/paper/claims.{form}" for form in ("json", "md", "html")]


def claims_inputs(experiment: Experiment, results: str = "results") -> list[str]:
    """The files of runs that the claims' verdicts rest on. Raises `SettingsError` for a mistake in claims.yaml."""
    paths = []
    for claim in read_claims(experiment).values():
        if claim.study in experiment.studies:
            files = dict.fromkeys([SUMMARY, *(metric(rule.metric).file for rule in claim.rule)])
            runs = experiment.study_runs(claim.study)
            paths += [f"{results}/runs/{run.path}/{file}" for run in runs for file in files if file != MEASURED]
            if experiment.measured_study and MEASURED in files:
                paths.append(f"{results}/paper/{MEASURED}")
            if paired_kinds(experiment, claim.study):
                paths.append(significance_file(claim.study, results))
    return list(dict.fromkeys(paths))


def read_claims(experiment: Experiment) -> dict[str, ClaimConfig]:
    """The claims of claims.yaml by id, checked against the studies. Raises `SettingsError`."""
    path = experiment.folder / "claims.yaml"
    studies = read_yaml(experiment.folder / "studies.yaml")
    claims = {}
    for name, data in read_yaml(path).items():
        where = f"{path}: {name}"
        claim = parse(ClaimConfig, data, where)
        if claim.study is not None and claim.study not in studies:
            raise SettingsError(f"{where}: study: {claim.study!r}: unknown study{nearest(claim.study, studies)}")
        if claim.study in experiment.studies:
            # Against the study as written: a configuration that drops a system leaves its claims "not run".
            _check_rules(claim, parse(StudyConfig, studies[claim.study], f"{path}: {claim.study}"), where)
        claims[name] = claim
    return claims


def _check_rules(claim: ClaimConfig, study: StudyConfig, where: str) -> None:
    keys = ["length", "packing", *study.vary]
    for rule in claim.rule:
        for system in [rule.system, *([rule.than] if isinstance(rule.than, str) else [])]:
            if system not in study.systems:
                known = nearest(system, study.systems)
                raise SettingsError(f"{where}: rule: {system!r}: not a system of study {claim.study}{known}")
        for key in (*rule.where, *rule.unless):
            if key not in keys:
                raise SettingsError(f"{where}: rule: {key!r}: not a key of study {claim.study}{nearest(key, keys)}")


def table_files(study: StudyConfig, runs: list[Run]) -> list[str]:
    """The files of each run that the table needs; the summary always, for the run's status and updates."""
    names = [*study.columns, *([study.answer.metric] if study.answer else [])]
    files = [SUMMARY, *(metric(name).file for name in names)]
    if any(segment_length(run.dataset) for run in runs):
        files.append(SCORES)  # the lengths that the footer states beside each L
    return list(dict.fromkeys(files))


def figure_files(figure: FigureConfig) -> list[str]:
    """The files of each shown run that a figure needs."""
    if figure.kind in FIGURE_FILES:
        return [SUMMARY, FIGURE_FILES[figure.kind]]
    return list(dict.fromkeys([SUMMARY, *(metric(name).file for name in figure.y)]))


def figure_runs(experiment: Experiment, study: str, figure: FigureConfig) -> list[Run]:
    """The runs that a figure shows: those of its systems; attention maps show one run of each."""
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
    """L of a document view's name, `europarl7@across-1024` -> 1024."""
    view = split_dataset(dataset)[1]
    return int(view.rpartition("-")[2]) if view else None
