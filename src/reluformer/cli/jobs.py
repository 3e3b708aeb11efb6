"""The jobs of an experiment, what each waits for, and the files it writes, without Snakemake.

For `reluformer plan` and `reluformer watch`; mirrors the rules in workflow/rules/. The files that a study reads
(`reluformer.paper.outputs`) determine its steps: a run is analysed only if a table or figure needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED
from reluformer.config.run import Run, split_dataset
from reluformer.config.search import Search, expected_rounds
from reluformer.paper.outputs import VARIANCE_LAW, claims_inputs, significance_inputs, study_inputs

STEP_OF_FILE = {
    "log.jsonl": "train",
    "summary.json": "train",
    "translation.json": "translate",
    "scores.json": "score",
    "counts.npz": "score",
    "analysis.json": "analyse",
    "attention.npz": "analyse",
}
PREVIOUS_STEP = {"translate": "train", "score": "translate", "analyse": "train"}
OUTPUTS = {
    "prepare": "corpora/{}/statistics.json",
    "pack": "corpora/{}/statistics.json",
    "train": "runs/{}/summary.json",
    "translate": "runs/{}/translation.json",
    "score": "runs/{}/scores.json",
    "analyse": "runs/{}/analysis.json",
    "tuning_round": "tuning/{}.json",
    "tune": "tuning/{}.json",
    "measure": f"paper/{MEASURED}",
    "variance_law": VARIANCE_LAW,
    "significance": "paper/significance/{}.json",
    "study": "paper/tables/{}.csv",
    "claims": "paper/claims.json",
    "corpus_page": "paper/corpora/{}.html",
    "index": "paper/index.html",
    "archive": "paper/archive.zip",
    "report": "paper/report.html",
}
"""Each step's last output under results/; `{}` is what the job is about, see `Job.about`."""
ON_GPU = ("train", "translate", "analyse", "measure")
"""Steps that occupy a GPU if there is one."""


class Job(NamedTuple):
    """One job of the DAG.

    Attributes:
        about: the run, dataset, study, ...; empty for a step with one job.
        after: the names of the jobs that it waits for.
    """

    step: str
    about: str
    run: Run | None = None
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`train iwslt14/reluformer/seed1`."""
        return f"{self.step} {self.about}".strip()

    @property
    def output(self) -> Path:
        """The last file that the job writes, under results/."""
        return Path(OUTPUTS[self.step].format(self._place))

    @property
    def log(self) -> Path:
        """The job's log, under logs/."""
        step = "tune" if self.step == "tuning_round" else self.step
        return Path(step, f"{self._place}.log") if self.about else Path(f"{step}.log")

    @property
    def _place(self) -> str:
        return self.about.replace("@", "/") if self.step == "pack" else self.about


def list_jobs(experiment: Experiment, results: Path | None = None) -> list[Job]:
    """Returns all jobs of the experiment, each after those that it waits for.

    Later rounds of tuning depend on scores: those in `results` are used, the others are guessed.
    """
    jobs: dict[str, Job] = {}

    def add(step: str, about: str = "", run: Run | None = None, after: Iterable[str] = ()) -> str:
        job = Job(step, about, run, tuple(after))
        return jobs.setdefault(job.name, job).name

    def dataset(name: str) -> str:
        base, view = split_dataset(name)
        prepared = add("prepare", base)
        return add("pack", name, after=[prepared]) if view else prepared

    def of_run(step: str, run: Run) -> str:
        if step in PREVIOUS_STEP:
            return add(step, run.path, run, [of_run(PREVIOUS_STEP[step], run)])
        start, search = experiment.resolve(run).training.start_from, experiment.tuning.search_for(run)
        after = [dataset(run.dataset), *([of_run("train", Run.parse(start))] if start else [])]
        return add(step, run.path, run, [*after, *([tuned(search)] if search else [])])

    def tuned(search: Search) -> str:
        name = f"{search.run.dataset}/{search.system}"
        last: list[str] = []
        if f"tune {name}" not in jobs:
            for number, runs in enumerate(expected_rounds(search, results)):
                trained = [add("train", run.path, run, [dataset(run.dataset), *last]) for run in runs]
                last = [add("tuning_round", f"{name}/round{number}", after=trained)]
        return add("tune", name, after=last)

    def of_file(path: str) -> str:
        _, kind, *folders, file = PurePosixPath(path).parts
        if kind == "runs":
            return of_run(STEP_OF_FILE[file], Run.parse("/".join(folders)))
        if folders == ["significance"]:
            study = file.removesuffix(".json")
            return add("significance", study, after=of_files(significance_inputs(experiment, study)))
        return add("measure" if file == MEASURED else "variance_law")

    def of_files(paths: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(map(of_file, paths)))

    pages = [add("study", study, after=of_files(study_inputs(experiment, study))) for study in experiment.studies]
    pages.append(add("claims", after=of_files(claims_inputs(experiment))))
    pages += [add("corpus_page", name, after=[add("prepare", name)]) for name in experiment.datasets]
    index = add("index", after=pages)
    add("archive", after=[index])
    add("report", after=[index])
    return list(jobs.values())
