"""Builds an experiment's paper from its record: scores from counts, p-values, tables, figures, verdicts.

Uses the same functions as the workflow's rules. Needs neither corpora nor a GPU nor the network.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES
from reluformer.config.settings import SettingsError, read_json
from reluformer.evaluation.score import rescore_run
from reluformer.files import replace, write_json, write_text
from reluformer.paper.claims import build_claims
from reluformer.paper.differences import write_significance
from reluformer.paper.outputs import paired_kinds
from reluformer.paper.quotes import fill, has_results, quoting_pages, readme
from reluformer.paper.record import EXPERIMENT, TOLERANCE, changes, compact, ended_runs, unequal
from reluformer.paper.study import draw_figures, draw_tuning, write_tables

COMMITTED = ("tables/*.csv", "tables/*.md", "figures/*.svg", "claims.json")
"""The files of the paper that are committed with a record; figures only of studies that have results."""

README = "README.md"


def read_experiment(record: Path) -> Experiment:
    """Reads the experiment of a record. Raises `SettingsError`."""
    path = record / EXPERIMENT
    content = read_json(path)
    if content is None:
        raise SettingsError(f"{path}: there is no such file; `reluformer record` writes it")
    if missing := {"config", "folder", "name"} - content.keys():
        raise SettingsError(f"{path}: not the experiment of a record: it has no {min(missing)}")
    return Experiment(content["config"], content["folder"], content["name"])


def build_paper(experiment: Experiment, record: Path, results: Path, cores: int = 1) -> list[str]:
    """Builds everything in `results/paper` from a record; returns where recorded scores differ from their counts.

    `results` is an empty folder, `cores` the number of processes.
    """
    ignored = shutil.ignore_patterns("tables", "figures", "claims.*", "README.md")
    shutil.copytree(record, results, dirs_exist_ok=True, ignore=ignored)
    runs = sorted(path.parent for path in results.glob(f"runs/*/*/seed*/{SCORES}"))
    pool = ProcessPoolExecutor(cores, get_context("spawn")) if cores > 1 else ThreadPoolExecutor(1)
    with pool:
        rescored = zip(runs, pool.map(_rescore, runs), strict=True)
        faults = [f"{run.relative_to(results)}/{SCORES}: {fault}" for run, differing in rescored for fault in differing]
        list(pool.map(partial(_build, experiment, results), experiment.studies))
    build_claims(experiment, results)
    if tuning := [run for run in ended_runs(results) if experiment.tuning.tries(run)]:
        draw_tuning(experiment, tuning, results)
    return faults


def _rescore(run: Path) -> list[str]:
    """Scores a run from its counts; returns where the recorded scores differ."""
    recorded, computed = read_json(run / SCORES), rescore_run(run)
    write_json(run / SCORES, computed)
    return changes(recorded, computed, "the record")


def _build(experiment: Experiment, results: Path, study: str) -> None:
    if paired_kinds(experiment, study):
        write_significance(experiment, study, results)
    write_tables(experiment, study, results)
    if has_results(experiment, study, results):
        draw_figures(experiment, study, results)


def update_paper(experiment: Experiment, record: Path) -> None:
    """Builds a record's tables, figures and verdicts, writes them and README.md into it, and updates quoting pages.

    Adds scores that recorded runs lack, as after a metric is added. Scores that differ from their counts stay, for
    `check_record` to name.

    Raises `SettingsError` for a page that quotes what the record does not have.
    """
    with tempfile.TemporaryDirectory(prefix="reluformer-record-") as name:
        build_paper(experiment, record, Path(name))
        for path in Path(name).glob(f"runs/*/*/seed*/{SCORES}"):
            target, computed = record / path.relative_to(name), read_json(path)
            differing = list(unequal(read_json(target), computed, tolerance=TOLERANCE))
            if differing and all(recorded is None for _, recorded, _ in differing):
                write_text(target, compact(computed))
        built = _committed(Path(name))
        for file in _committed(record).keys() - built.keys():
            (record / "paper" / file).unlink()
        for file, path in built.items():
            target = record / "paper" / file
            if not target.is_file() or target.read_bytes() != path.read_bytes():
                replace(target, partial(shutil.copyfile, path))
    write_text(record / README, readme(experiment, record))
    for page in quoting_pages(record):
        write_text(page, fill(page, experiment, record))


def check_record(record: Path, results: Path, cores: int = 1) -> list[str]:
    """Builds a record's paper in `results`, see `build_paper`; returns where it differs from what is committed.

    Figures need only exist, as their last digits may differ between processors.
    """
    experiment = read_experiment(record)
    faults = build_paper(experiment, record, results, cores)
    built, committed = _committed(results), _committed(record)
    for file in sorted(built.keys() | committed.keys()):
        if file not in committed or file not in built:
            faults.append(f"paper/{file}: {'not in the record' if file in built else 'no longer built'}")
        elif not file.endswith(".svg") and built[file].read_bytes() != committed[file].read_bytes():
            faults += [f"paper/{file}: {change}" for change in _file_changes(committed[file], built[file])]
    if (record / README).read_text(encoding="utf-8") != readme(experiment, results):
        faults.append(f"{README}: not what `reluformer record` writes")
    for page in quoting_pages(record):
        if page.read_text(encoding="utf-8") != fill(page, experiment, record, results):
            faults.append(f"{README}: {page} does not quote it as it is; `reluformer record` renews it")
    return faults


def _file_changes(committed: Path, built: Path) -> list[str]:
    """Returns where two files differ: in JSON all values beyond rounding, otherwise the first line."""
    texts = [path.read_text(encoding="utf-8") for path in (committed, built)]
    if committed.suffix == ".json":
        return changes(json.loads(texts[0]), json.loads(texts[1]), "the record")
    lines = [text.splitlines() for text in texts]
    number = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    old, new = (each[number] if number < len(each) else "" for each in lines)
    return [f"line {number + 1}: {old!r} in the record, computed {new!r}"]


def _committed(folder: Path) -> dict[str, Path]:
    """Returns the files of `COMMITTED` by their path below paper/."""
    paper = folder / "paper"
    return {path.relative_to(paper).as_posix(): path for pattern in COMMITTED for path in sorted(paper.glob(pattern))}
