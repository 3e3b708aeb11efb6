"""How much of an experiment is done, by the files that are there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from reluformer.cli.planning.jobs import Job, list_jobs
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED
from reluformer.paper.outputs import VARIANCE_LAW

LAST_FILE = {
    "train": "summary.json",
    "translate": "translation.json",
    "score": "scores.json",
    "analyse": "analysis.json",
}
"""The file that each step of a run ends with."""


class Step(NamedTuple):
    """How many jobs of one step there are, and how many of them have ended."""

    name: str
    done: int
    all: int


def output(job: Job, results: Path) -> Path:
    """The file that a job ends with."""
    about = job.name.removeprefix(job.step).strip()
    if job.run is not None:
        return results / "runs" / job.run.path / LAST_FILE[job.step]
    if job.step in ("prepare", "pack"):
        return results / "corpora" / about.replace("@", "/") / "statistics.json"
    paper = results / "paper"
    known = {
        "tuning_round": results / "tuning" / f"{about}.json",
        "tune": results / "tuning" / f"{about}.json",
        "study": paper / "tables" / f"{about}.csv",
        "corpus_page": paper / "corpora" / f"{about}.html",
        "measure": paper / MEASURED,
        "variance_law": results / VARIANCE_LAW,
        "significance": paper / "significance" / f"{about}.json",
        "index": paper / "index.html",
        "archive": paper / "archive.zip",
        "claims": paper / "claims.json",
        "report": paper / "report.html",
    }
    return known[job.step]


def progress(experiment: Experiment, results: Path) -> list[Step]:
    """Each step of the experiment, in the order of its jobs."""
    counts: dict[str, list[int]] = {}
    for job in list_jobs(experiment, results):
        path = output(job, results)
        found = counts.setdefault(job.step, [0, 0])
        found[0] += path.is_file()
        found[1] += 1
    return [Step(name, *found) for name, found in counts.items()]
