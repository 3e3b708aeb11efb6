"""The runs that a record replaces, determined before anything runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from reluformer.config.evaluation import COUNTS
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ATTENTION, MEASURED, SUMMARY
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.paper.outputs import VARIANCE_LAW, claims_inputs, paired_kinds, study_inputs
from reluformer.paper.record import (
    CORPUS_FILES,
    NOT_TUNED,
    STEPS,
    differing_settings,
    other_text,
    recorded_search,
    wanted,
)

MODEL = "model.safetensors"


class Recorded(NamedTuple):
    """What a record replaces.

    Attributes:
        files: paths below the record's folder that a rule copies to the same path below results/.
        runs: DATASET/SYSTEM/seedN -> the steps (of `STEPS`) whose files are among them.
        unusable: runs recorded with other settings, each with what differs.
    """

    files: frozenset[str]
    runs: dict[str, list[str]]
    unusable: dict[str, str]

    def without_maps(self, paths: Iterable[str]) -> list[str]:
        """Returns the inputs of a study without the attention maps that a recorded run lacks."""
        return [path for path in paths if not self._lacks(path.removeprefix("results/"))]

    def _lacks(self, file: str) -> bool:
        run = file.removeprefix("runs/").removesuffix(f"/{ATTENTION}")
        return file.endswith(f"/{ATTENTION}") and "analyse" in self.runs.get(run, []) and file not in self.files

    def summary(self) -> str:
        """Returns a summary for the terminal; "" if nothing is recorded."""
        lines = [f"{len(self.runs)} runs are recorded and not repeated"]
        lines += [f"{run}: recorded, but repeated: {reason}" for run, reason in self.unusable.items()]
        return "\n".join(lines) + "\n" if self.runs or self.unusable else ""


NOTHING = Recorded(frozenset(), {}, {})


def read_recorded(experiment: Experiment, record: Path | None, results: Path) -> Recorded:
    """Returns what a record replaces: runs with the experiment's settings, except for how they are computed.

    A run is not restored if its weights exist or are needed: by a run that starts from it and is to be trained, or for
    a file that a study needs and the record lacks. The statistics of a corpus are restored if no run needs its text. A
    missing record replaces nothing. Raises `SettingsError` for a mistake in claims.yaml.
    """
    if record is None or not record.is_dir():
        return NOTHING
    texts = {name: other_text(experiment, name, record, results) for name in experiment.datasets}
    needed = _needed_files(experiment)
    runs: dict[str, list[str]] = {}
    unusable: dict[str, str] = {}
    for path in sorted((record / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        if split_dataset(run.dataset)[0] not in texts:
            continue  # belongs to a configuration with more datasets
        other = texts[split_dataset(run.dataset)[0]]
        if (reason := other or _unusable(experiment, run, record, results)) is not None:
            unusable[run.path] = reason
        elif missing := [file for file in needed.get(run.path, []) if not (path.parent / file).is_file()]:
            unusable[run.path] = f"{missing[0]} is not recorded"
        elif not (results / "runs" / run.path / MODEL).is_file():
            steps = {step: [(path.parent / file).is_file() for file in files] for step, files in STEPS.items()}
            runs[run.path] = [step for step, there in steps.items() if all(there)]
    for start in _starts(experiment, runs):
        runs.pop(start, None)
    files = [f"runs/{run}/{file}" for run, steps in runs.items() for step in steps for file in STEPS[step]]
    files += [f"runs/{run}/{ATTENTION}" for run, steps in runs.items() if "analyse" in steps]
    files += [search.path for search in experiment.tuning.searches if recorded_search(search, record)]
    for name in experiment.datasets:
        if not _needs_text(experiment, name, record, results, runs):
            files += _corpus_files(experiment, name)
    files += [VARIANCE_LAW, *([f"paper/{MEASURED}"] if _same_measuring(experiment, record) else [])]
    return Recorded(frozenset(file for file in files if (record / file).is_file()), runs, unusable)


def _unusable(experiment: Experiment, run: Run, record: Path, results: Path) -> str | None:
    try:
        expected = wanted(experiment, run, record, results)
        if expected is None:
            return NOT_TUNED
        changed = differing_settings(expected, RunConfig.load(record / "runs" / run.path))
    except SettingsError as error:
        return str(error)
    return "; ".join(changed) or None


def _needed_files(experiment: Experiment) -> dict[str, list[str]]:
    """The files of each run that studies and claims are made from, by the run's path, without attention maps."""
    needed: dict[str, list[str]] = {}
    inputs = [study_inputs(experiment, study) for study in experiment.studies] + [claims_inputs(experiment)]
    for path in dict.fromkeys(itertools.chain.from_iterable(inputs)):
        folder, _, file = path.removeprefix("results/runs/").rpartition("/")
        if path.startswith("results/runs/") and file != ATTENTION:
            needed.setdefault(folder, []).append(file)
    for study in experiment.studies:
        if paired_kinds(experiment, study):
            for run in experiment.study_runs(study):
                needed[run.path].append(COUNTS)
    return needed


def _starts(experiment: Experiment, restored: Container[str]) -> set[str]:
    """The runs whose weights are needed: those that runs that are not restored start from, directly or not."""
    needed: set[str] = set()
    waiting = [run for run in experiment.runs if run.path not in restored]
    while waiting:
        start = experiment.resolve(waiting.pop()).training.start_from
        if start is not None and start not in needed:
            needed.add(start)
            waiting.append(Run.parse(start))
    return needed


def _needs_text(experiment: Experiment, name: str, record: Path, results: Path, runs: dict[str, list[str]]) -> bool:
    """Whether a run of a dataset or of its tuning is to be made, or the text is prepared already."""
    mine = [run for run in experiment.runs if split_dataset(run.dataset)[0] == name]
    searches = [search for search in experiment.tuning.searches if split_dataset(search.run.dataset)[0] == name]
    tuned = all((results / one.path).is_file() or recorded_search(one, record) for one in searches)
    done = tuned and all(run.path in runs for run in mine)
    return not done or (results / "corpora" / name / "store").is_dir()


def _corpus_files(experiment: Experiment, name: str) -> list[str]:
    views = {split_dataset(run.dataset)[1] for run in experiment.runs if split_dataset(run.dataset)[0] == name}
    packed = [f"corpora/{name}/{view}/statistics.json" for view in views if view]
    return [*(f"corpora/{name}/{file}" for file in CORPUS_FILES), *packed]


def _same_measuring(experiment: Experiment, record: Path) -> bool:
    """Whether a record has the experiment's measuring: its systems, at its lengths."""
    study, path = experiment.measured_study, record / "paper" / MEASURED
    if study is None or not path.is_file():
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    config = experiment.studies[study]
    assert config.measured is not None
    systems = {point["system"] for point in content["points"]}
    return set(config.systems) <= systems and content["settings"] == config.measured.model_dump(mode="json")
