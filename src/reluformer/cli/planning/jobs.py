"""The jobs of an experiment and what each waits for, from its studies alone.

What a study is made of (`reluformer.paper.outputs`) says which steps a run goes through: one that no table or figure
needs the measures of is not analysed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED
from reluformer.config.run import Run, split_dataset
from reluformer.config.search.rounds import Search, expected_rounds
from reluformer.paper.outputs import VARIANCE_LAW, claims_inputs, significance_file, significance_inputs, study_inputs

STEP_OF_FILE = {
    "model.safetensors": "train",
    "config.yaml": "train",
    "log.jsonl": "train",
    "summary.json": "train",
    "hypotheses.jsonl": "translate",
    "translation.json": "translate",
    "scores.json": "score",
    "counts.npz": "score",
    "analysis.json": "analyse",
    "attention.npz": "analyse",
}
OF_NO_RUN = {MEASURED: "measure", PurePosixPath(VARIANCE_LAW).name: "variance_law"}
BEFORE = {"translate": "train", "score": "translate", "analyse": "train"}
ON_A_DEVICE = ("train", "translate", "analyse", "measure")
"""Steps that hold a GPU where there is one."""


@dataclass(frozen=True)
class Job:
    """One job: its step, what it is about, the names of the jobs before it."""

    name: str
    step: str
    run: Run | None = None
    after: tuple[str, ...] = field(default=())


def list_jobs(experiment: Experiment, results: Path | None = None) -> list[Job]:
    """Every job of the experiment, each after those that it waits for.

    Which tuning runs there are is guessed as far as it hangs on the scores of others; `results` has those known.
    """
    jobs: dict[str, Job] = {}

    def add(step: str, name: str, run: Run | None = None, after: tuple[str, ...] = ()) -> str:
        key = f"{step} {name}" if name else step
        jobs.setdefault(key, Job(key, step, run, after))
        return key

    def dataset(name: str) -> str:
        base, view = split_dataset(name)
        prepared = add("prepare", base)
        return add("pack", name, after=(prepared,)) if view else prepared

    def of_run(step: str, run: Run) -> str:
        if step in BEFORE:
            return add(step, run.path, run, (of_run(BEFORE[step], run),))
        start, search = experiment.resolve(run).training.start_from, experiment.tuning.search_for(run)
        after = (dataset(run.dataset), *([of_run("train", Run.parse(start))] if start else []))
        return add(step, run.path, run, (*after, *([tuned(search)] if search else [])))

    def tuned(search: Search) -> str:
        name = f"{search.run.dataset}/{search.system}"
        last: tuple[str, ...] = ()
        if f"tune {name}" not in jobs:
            for number, runs in enumerate(expected_rounds(search, results)):
                trained = [add("train", run.path, run, (dataset(run.dataset), *last)) for run in runs]
                last = (add("tuning_round", f"{name}/round{number}", after=tuple(trained)),)
        return add("tune", name, after=last)

    def of_files(paths: list[str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for path in paths:
            parts = PurePosixPath(path).parts
            if "runs" in parts and parts[-1] in STEP_OF_FILE:
                run = Run.parse("/".join(parts[parts.index("runs") + 1 : -1]))
                found.setdefault(of_run(STEP_OF_FILE[parts[-1]], run))
            elif path in tests:
                study = tests[path]
                found.setdefault(add("significance", study, after=of_files(significance_inputs(experiment, study))))
            else:
                found.setdefault(add(OF_NO_RUN[PurePosixPath(path).name], ""))
        return tuple(found)

    tests = {significance_file(study): study for study in experiment.studies}
    ends = [add("study", study, after=of_files(study_inputs(experiment, study))) for study in experiment.studies]
    ends.append(add("claims", "", after=of_files(claims_inputs(experiment))))
    ends += [add("corpus_page", name, after=(add("prepare", name),)) for name in experiment.datasets]
    page = add("index", "", after=tuple(ends))
    add("archive", "", after=(page,))
    add("report", "", after=(page,))
    return list(jobs.values())
