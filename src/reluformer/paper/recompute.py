"""Computes an experiment's paper anew from its record: scores from counts, p-values, tables, figures, verdicts.

By the same functions as the rules of the workflow. Needs neither corpora nor a GPU nor the network.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES
from reluformer.config.settings import SettingsError
from reluformer.evaluation.score import rescore_run
from reluformer.files import replace, write_json
from reluformer.paper.build import build_significance
from reluformer.paper.outputs import paired_kinds
from reluformer.paper.record import EXPERIMENT, compact
from reluformer.paper.verify import differences

KEPT = ("tables/*.csv", "tables/*.md", "claims.json", "claims.md")
"""What of the paper is committed with a record."""


def read_experiment(record: Path) -> Experiment:
    """The experiment of a record. Raises `SettingsError`."""
    path = record / EXPERIMENT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Experiment(content["config"], content["folder"], content["name"])
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; `reluformer record` writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{path}: not the experiment of a record") from None


def build_paper(experiment: Experiment, record: Path, results: Path, figures: bool = True, cores: int = 1) -> list[str]:
    """Builds everything in `results/paper` from the record, and returns where recorded scores are not what their counts
    say.

    results: an empty folder. figures: whether they are drawn, too. cores: processes.
    """
    shutil.copytree(
        record, results, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tables", "claims.*", "README.md")
    )
    runs = sorted(path.parent for path in results.glob(f"runs/*/*/seed*/{SCORES}"))
    studies = list(experiment.studies)
    faults: list[str] = []
    with _Workers(cores) as workers:
        for run, found in zip(runs, workers.map(_rescore, runs), strict=True):
            faults += [f"{run.relative_to(results)}/{SCORES}: {one}" for one in found]
        list(workers.map(partial(_build, experiment, results, figures), studies))
    from reluformer.paper.claims import build_claims

    build_claims(experiment, results)
    return faults


def update_paper(experiment: Experiment, record: Path) -> None:
    """Writes the tables and verdicts of a record into it, from what it holds."""
    with tempfile.TemporaryDirectory(prefix="reluformer-record-") as name:
        build_paper(experiment, record, Path(name), figures=False)
        built = _kept(Path(name))
        for file in _kept(record).keys() - built.keys():
            (record / "paper" / file).unlink()
        for file, path in built.items():
            target = record / "paper" / file
            if not target.is_file() or target.read_bytes() != path.read_bytes():
                replace(target, partial(shutil.copyfile, path))


def check_record(record: Path, results: Path, figures: bool = True, cores: int = 1) -> list[str]:
    """Builds a record's paper anew in `results`, see `build_paper`, and returns where it is not what is committed."""
    faults = build_paper(read_experiment(record), record, results, figures, cores)
    built, committed = _kept(results), _kept(record)
    for file in sorted(built.keys() | committed.keys()):
        if file not in committed or file not in built:
            faults.append(f"paper/{file}: {'not in the record' if file in built else 'no longer made'}")
        elif built[file].read_bytes() != committed[file].read_bytes():
            faults += [f"paper/{file}: {one}" for one in _changes(committed[file], built[file])]
    return faults


def _changes(committed: Path, built: Path) -> Iterable[str]:
    """Where two files differ: the first line; of JSON where it differs by more than rounding."""
    texts = [path.read_text(encoding="utf-8") for path in (committed, built)]
    if committed.suffix == ".json":
        return list(differences(json.loads(texts[0]), json.loads(texts[1]), place="the record"))
    lines = [text.splitlines() for text in texts]
    number = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    old, new = (each[number] if number < len(each) else "" for each in lines)
    return [f"line {number + 1}: {old!r} in the record, computed {new!r}"]


def _kept(folder: Path) -> dict[str, Path]:
    """The files of `KEPT` by their path below paper/."""
    paper = folder / "paper"
    return {path.relative_to(paper).as_posix(): path for pattern in KEPT for path in sorted(paper.glob(pattern))}


def _rescore(run: Path) -> list[str]:
    """Scores a run from its counts, and says where the scores that were there differ."""
    kept = json.loads((run / SCORES).read_text(encoding="utf-8"))
    found = rescore_run(run)
    write_json(run / SCORES, found)
    return list(differences(kept, json.loads(compact(found)), place="the record"))


def _build(experiment: Experiment, results: Path, figures: bool, study: str) -> None:
    from reluformer.paper.figures import draw
    from reluformer.paper.study import write_tables

    if paired_kinds(experiment, study):
        build_significance(experiment, study, results)
    write_tables(experiment, study, results)
    if figures:
        draw(experiment, study, results)


class _Workers:
    """`map` over processes, or within this one where there is one core."""

    def __init__(self, cores: int) -> None:
        self.pool = ProcessPoolExecutor(cores, mp_context=get_context("spawn")) if cores > 1 else None

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """As the builtin."""
        return map(function, items) if self.pool is None else self.pool.map(function, items)
