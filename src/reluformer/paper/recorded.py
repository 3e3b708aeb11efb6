"""The runs that a record replaces, determined before anything runs."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ATTENTION
from reluformer.config.run import Run, split_dataset
from reluformer.config.settings import read_json
from reluformer.paper.outputs import (
    MEASURED_FILE,
    VARIANCE_LAW,
    claims_inputs,
    paired_kinds,
    significance_inputs,
    study_inputs,
)
from reluformer.paper.record import STEPS, Record, corpus_files, ended_runs

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
        maps = {f"runs/{run}/{ATTENTION}" for run, steps in self.runs.items() if "analyse" in steps}
        lacking = maps - self.files
        return [path for path in paths if path.removeprefix("results/") not in lacking]

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
    held, needed = Record(experiment, record, results), _needed_files(experiment)
    runs: dict[str, list[str]] = {}
    unusable: dict[str, str] = {}
    for run in ended_runs(record):
        if split_dataset(run.dataset)[0] not in held.texts:
            continue  # belongs to a configuration with more datasets
        folder = record / "runs" / run.path
        missing = [file for file in needed.get(run.path, []) if not (folder / file).is_file()]
        if reason := held.refusal(run, folder) or (f"{missing[0]} is not recorded" if missing else None):
            unusable[run.path] = reason
        elif not (results / "runs" / run.path / MODEL).is_file():
            runs[run.path] = [step for step, files in STEPS.items() if all((folder / file).is_file() for file in files)]
    for start in _starts(experiment, runs):
        runs.pop(start, None)
    files = [f"runs/{run}/{file}" for run, steps in runs.items() for step in steps for file in STEPS[step]]
    files += [f"runs/{run}/{ATTENTION}" for run, steps in runs.items() if "analyse" in steps]
    files += [search.path for search in experiment.tuning.searches if held.has_choice(search)]
    for name in experiment.datasets:
        if not _needs_text(held, name, runs):
            files += corpus_files(experiment, name)
    files += [VARIANCE_LAW, *([MEASURED_FILE] if _same_measuring(experiment, record) else [])]
    return Recorded(frozenset(file for file in files if (record / file).is_file()), runs, unusable)


def _needed_files(experiment: Experiment) -> dict[str, list[str]]:
    """The files of each run that studies and claims are built from, by the run's path, without attention maps."""
    paths = claims_inputs(experiment)
    for study in experiment.studies:
        paths += study_inputs(experiment, study)
        paths += significance_inputs(experiment, study) if paired_kinds(experiment, study) else []
    needed: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        folder, _, file = path.removeprefix("results/runs/").rpartition("/")
        if path.startswith("results/runs/") and file != ATTENTION:
            needed.setdefault(folder, []).append(file)
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


def _needs_text(held: Record, name: str, runs: Container[str]) -> bool:
    """Whether a run of a dataset or of its tuning is not among `runs`, or the text is prepared already."""
    experiment, results = held.experiment, held.results
    searches = [search for search in experiment.tuning.searches if split_dataset(search.run.dataset)[0] == name]
    tuned = all((results / search.path).is_file() or held.has_choice(search) for search in searches)
    restored = all(run.path in runs for run in experiment.runs if split_dataset(run.dataset)[0] == name)
    return not (tuned and restored) or (results / "corpora" / name / "store").is_dir()


def _same_measuring(experiment: Experiment, record: Path) -> bool:
    """Whether a record has the experiment's measuring: its systems, at its lengths."""
    study, content = experiment.measured_study, read_json(record / MEASURED_FILE)
    if study is None or content is None:
        return False
    config = experiment.studies[study]
    assert config.measured is not None
    systems = {point["system"] for point in content["points"]}
    return set(config.systems) <= systems and content["settings"] == config.measured.model_dump(mode="json")
