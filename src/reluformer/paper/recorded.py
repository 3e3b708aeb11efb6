"""Which runs need not be made, because a record has them: asked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from reluformer.experiment import Experiment
from reluformer.paper.metrics import ATTENTION, SUMMARY
from reluformer.paper.record import CORPUS_FILES, STEPS, differing_settings, other_text
from reluformer.run import Run, RunConfig, split_dataset
from reluformer.settings import SettingsError

MODEL = "model.safetensors"


class Recorded(NamedTuple):
    """What a record stands in for.

    Attributes:
        runs: DATASET/SYSTEM/seedN -> the steps (of `STEPS`) whose files come from the record.
        corpora: datasets whose statistics come from the record, as no run needs their text.
        unusable: runs that are recorded with other settings, each with what differs.
    """

    runs: dict[str, list[str]]
    corpora: list[str]
    unusable: dict[str, str]

    def files(self, step: str) -> list[str]:
        """The runs whose files of one step come from the record."""
        return [run for run, steps in self.runs.items() if step in steps]


NOTHING = Recorded({}, [], {})


def read_recorded(experiment: Experiment, record: Path | None, results: Path) -> Recorded:
    """What the record of an experiment stands in for: runs with the same settings, but for how they are computed.

    A run whose weights are there, or are needed by a run that is to be trained, is not restored.
    """
    if record is None or not record.is_dir():
        return NOTHING
    texts = {name: other_text(experiment, name, record, results) for name in experiment.datasets}
    runs: dict[str, list[str]] = {}
    unusable: dict[str, str] = {}
    for path in sorted((record / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        other = texts.get(split_dataset(run.dataset)[0])
        if (reason := other or _unusable(experiment, run, path.parent)) is not None:
            unusable[run.path] = reason
        elif not (results / "runs" / run.path / MODEL).is_file():
            runs[run.path] = [
                step for step, files in STEPS.items() if all((path.parent / file).is_file() for file in files)
            ]
    complete = [run for run in runs if runs[run] == list(STEPS)]
    for needed in _starts(experiment, complete):
        runs.pop(needed, None)
    corpora = [name for name in experiment.datasets if _corpus_stands(experiment, name, record, results, runs)]
    return Recorded(runs, corpora, unusable)


def without_maps(paths: Iterable[str], recorded: Recorded, record: Path | None) -> list[str]:
    """The inputs of a study without the attention maps that a record may not hold: its figures say so."""
    if record is None:
        return list(paths)
    kept = []
    for path in paths:
        run = path.removeprefix("results/runs/").removesuffix(f"/{ATTENTION}")
        restored = path.endswith(f"/{ATTENTION}") and "analyse" in recorded.runs.get(run, [])
        if not restored or (record / "runs" / run / ATTENTION).is_file():
            kept.append(path)
    return kept


def _unusable(experiment: Experiment, run: Run, folder: Path) -> str | None:
    try:
        wanted = experiment.resolve(run)
    except SettingsError:
        return "no run of this configuration"
    try:
        changed = differing_settings(wanted, RunConfig.load(folder))
    except SettingsError as error:
        return str(error)
    return "; ".join(changed) or None


def _starts(experiment: Experiment, complete: list[str]) -> set[str]:
    """The runs whose weights are needed: those that an unrecorded run of the experiment starts from, and so on."""
    needed: set[str] = set()
    waiting = [run for run in experiment.runs if run.path not in complete]
    while waiting:
        start = experiment.resolve(waiting.pop()).training.start_from
        if start is not None and start not in needed:
            needed.add(start)
            waiting.append(Run.parse(start))
    return needed


def _corpus_stands(experiment: Experiment, name: str, record: Path, results: Path, runs: dict[str, list[str]]) -> bool:
    folder = record / "corpora" / name
    mine = [run for run in experiment.runs if split_dataset(run.dataset)[0] == name]
    views = {view for view in (split_dataset(run.dataset)[1] for run in mine) if view}
    wanted = [*CORPUS_FILES, *(f"{view}/statistics.json" for view in views)]
    if (results / "corpora" / name / "store").is_dir() or not all((folder / file).is_file() for file in wanted):
        return False
    return all(runs.get(run.path) == list(STEPS) for run in mine)
