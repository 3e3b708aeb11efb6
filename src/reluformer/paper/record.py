"""The record of an experiment: the small, redistributable files that its tables are computed from.

A record has the layout of `results/`, without weights and text. `take` fills it; a run in it counts as done, which
`read_recorded` determines before anything runs; `reluformer.paper.recompute` builds its tables.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reluformer.config.dataset import CorpusConfig
from reluformer.config.evaluation import COUNTS
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ANALYSIS, ATTENTION, LOG, SCORES, SUMMARY, TRANSLATION
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.search import Search
from reluformer.config.settings import SettingsError, parse, read_json
from reluformer.config.tuning import apply_choice, read_choice
from reluformer.files import replace
from reluformer.paper.outputs import (
    MEASURED_FILE,
    VARIANCE_LAW,
    claims_inputs,
    figure_runs,
    paired_kinds,
    significance_inputs,
    study_inputs,
)

EXPERIMENT = "experiment.json"
"""The configuration of a record's tables, with the folder of the files that it names."""
STEPS: dict[str, tuple[str, ...]] = {
    "train": ("config.yaml", LOG, SUMMARY),
    "score": (TRANSLATION, SCORES, COUNTS),
    "analyse": (ANALYSIS,),
}
"""The files of a run in a record, by the step that writes the last of them."""
CORPUS_FILES = ("statistics.json", "provenance.json")
OWN_KEYS = ("archives", "force", "partial", "record")
"""Keys of config.yaml that decide how the workflow runs here, not what it computes."""
HOW: dict[str, Any] = {
    "training": {
        *("processes", "nodes", "threads", "accumulation", "zero_stage", "activation_checkpointing", "compile"),
        *("log_every", "keep", "checkpoint_minutes", "tensorboard"),
    },
    "translation": {"batch_tokens", "graphs"},
    "model": {"vocabulary"},
    "tuned": True,
}
"""Keys of a run that decide how it is computed, not its result, and keys derived from others."""
CORPUS_ANYWAY = {"archives", "licence", "segments"}
"""Keys of a corpus that do not change its text: its addresses, its licence, its views."""

TOLERANCE = 1e-6
"""Relative difference up to which two numbers count as equal."""


class Record:
    """A record, compared with an experiment and the results that exist.

    Attributes:
        texts: how the text of each dataset differs from the configuration's or from the prepared one, or None.
    """

    def __init__(self, experiment: Experiment, folder: Path, results: Path) -> None:
        self.experiment, self.folder, self.results = experiment, folder, results
        self.texts = {name: self._other_text(name) for name in experiment.datasets}

    def refusal(self, run: Run, folder: Path) -> str | None:
        """Returns why the run in `folder`, on a dataset of the experiment, differs from the experiment's; else None."""
        if other := self.texts[split_dataset(run.dataset)[0]]:
            return other
        try:
            expected = self.expected(run)
            if expected is None:
                return "its system is not tuned yet: neither the results nor the record has the choice"
            return "; ".join(differing_settings(expected, RunConfig.load(folder))) or None
        except SettingsError as error:
            return str(error)

    def expected(self, run: Run) -> RunConfig | None:
        """Returns a run's settings with its tuned values; None if these have not been chosen yet."""
        config, tuning = self.experiment.resolve(run), self.experiment.tuning
        choice, search = tuning.choice_file(run, self.results), tuning.search_for(run)
        if choice is None:
            return config
        if search is not None and not choice.is_file():
            if not self.has_choice(search):
                return None
            choice = self.folder / search.path
        return apply_choice(config, read_choice(choice))

    def has_choice(self, search: Search) -> bool:
        """Returns whether the record has the choice of a search with the same grid, start and seed."""
        choice = read_json(self.folder / search.path)
        about = {"grid": search.grid, "start": search.start, "seed": search.run.seed}
        return choice is not None and not list(unequal({key: choice.get(key) for key in about}, about))

    def _other_text(self, dataset: str) -> str | None:
        theirs, ours = (
            read_json(folder / "corpora" / dataset / "provenance.json") for folder in (self.folder, self.results)
        )
        if theirs is None:
            return None
        try:
            recorded = parse(CorpusConfig, theirs["configuration"], f"{self.folder / 'corpora' / dataset}")
        except SettingsError as error:
            return str(error)
        corpora = (recorded, self.experiment.datasets[dataset].corpus)
        one, other = (corpus.model_dump(mode="json", exclude=CORPUS_ANYWAY) for corpus in corpora)
        if changed := _changes(one, other, "corpus"):
            return f"{self.folder} has {dataset} prepared differently: {'; '.join(changed)}"
        if ours is not None:
            checksums = [{file["name"]: file["sha256"] for file in each["archives"]} for each in (theirs, ours)]
            if checksums[0] != checksums[1]:
                return f"{self.folder} has {dataset} from other archives than {self.results}"
        return None


class Taken(NamedTuple):
    """The runs that `take` added or extended, those already in the record, and those refused, with the reason."""

    new: list[str]
    unchanged: list[str]
    refused: list[str]


def take(experiment: Experiment, results: Path, record: Path) -> Taken:
    """Copies the small files of an experiment's finished runs, its corpora and its measurements into a record.

    Writes only what is new, each file atomically, so it can run during trainings. Refuses a run whose settings differ
    from the experiment's, or of which the record holds another training. Attention maps have tokens on their axes: they
    are copied if the dataset's licence permits redistributing its text. Raises `SettingsError` for a record of another
    experiment.
    """
    theirs, title = read_json(record / EXPERIMENT), experiment.config.title
    if theirs and theirs["config"]["title"] != title:
        raise SettingsError(f"{record}: it is the record of {theirs['config']['title']!r}, not of {title!r}")
    held, taken, maps = Record(experiment, record, results), Taken([], [], []), shown_maps(experiment)
    for run in ended_runs(results):
        source, target = results / "runs" / run.path, record / "runs" / run.path
        if run not in experiment.runs and not experiment.tuning.tries(run):
            continue  # of another experiment
        reason = held.refusal(run, source)
        if reason is None and read_json(target / SUMMARY) not in (None, read_json(source / SUMMARY)):
            reason = f"{target} holds another training of it; remove that to take this one"
        if reason is not None:
            taken.refused.append(f"{run.path}: {reason}")
            continue
        finished = [files for files in STEPS.values() if all((source / file).is_file() for file in files)]
        written = [_copy(source / file, target / file) for files in finished for file in files]
        if run in maps and experiment.dataset(run.dataset).redistribute:
            written.append(_copy_maps(source / ATTENTION, target / ATTENTION, maps[run]))
        (taken.new if any(written) else taken.unchanged).append(run.path)
    files = [*(search.path for search in experiment.tuning.searches), MEASURED_FILE, VARIANCE_LAW]
    for name in experiment.datasets:
        files += corpus_files(experiment, name) if held.texts[name] is None else []
    for file in files:
        _copy(results / file, record / file)
    _write(record / EXPERIMENT, compact(experiment_content(experiment)).encode())
    return taken


def experiment_content(experiment: Experiment) -> dict[str, Any]:
    """Returns the content of experiment.json, from which `--config` reads an experiment."""
    config = experiment.config.model_dump(mode="json", exclude=set(OWN_KEYS))
    return {"config": config, "folder": experiment.folder.as_posix(), "name": experiment.name}


def ended_runs(folder: Path) -> list[Run]:
    """Returns the runs in results or in a record whose training has ended."""
    return [Run.parse("/".join(path.parts[-4:-1])) for path in sorted(folder.glob(f"runs/*/*/seed*/{SUMMARY}"))]


def corpus_files(experiment: Experiment, name: str) -> list[str]:
    """Returns the files of a corpus and of its packed views in a record."""
    names = [split_dataset(run.dataset) for run in experiment.runs]
    views = dict.fromkeys(view for base, view in names if base == name and view)
    return [f"corpora/{name}/{file}" for file in (*CORPUS_FILES, *(f"{view}/statistics.json" for view in views))]


def differing_settings(wanted: RunConfig, recorded: RunConfig) -> list[str]:
    """Returns the settings of a recorded run that differ from `wanted`, as `training.updates: 100, not 200`."""
    return _changes(recorded.model_dump(mode="json", exclude=HOW), wanted.model_dump(mode="json", exclude=HOW))


def shown_maps(experiment: Experiment) -> dict[Run, list[tuple[str, int]]]:
    """Returns the attention maps that figures show, by run: (attention, layer)."""
    shown: dict[Run, list[tuple[str, int]]] = {}
    for study, config in experiment.studies.items():
        for figure in config.figures.values():
            if figure.kind == "attention-maps":
                for run in figure_runs(experiment, study, figure):
                    shown.setdefault(run, []).append((figure.attention, figure.layer))
    return shown


def compact(content: Any) -> str:
    """Returns JSON without spaces."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _changes(recorded: Any, wanted: Any, key: str = "") -> list[str]:
    return [f"{name}: {one!r}, not {other!r}" for name, one, other in unequal(recorded, wanted, key)]


def unequal(one: Any, other: Any, key: str = "", tolerance: float = 0.0) -> Iterator[tuple[str, Any, Any]]:
    """Yields where two JSON contents differ, as (`metrics.bleu.score`, value, other value); numbers by `tolerance`."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from unequal(one.get(name), other.get(name), f"{key}.{name}" if key else str(name), tolerance)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from unequal(*pair, f"{key}[{index}]", tolerance)
    elif isinstance(one, int | float) and isinstance(other, int | float):
        if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance):
            yield key, one, other
    elif one != other:
        yield key, one, other


def changes(stored: Any, computed: Any, place: str = "the archive") -> list[str]:
    """Returns where two contents differ beyond rounding: `metrics.bleu.score: 31 in the archive, computed 30.5`."""
    rows = unequal(stored, computed, tolerance=TOLERANCE)
    return [f"{key}: {one!r} in {place}, computed {other!r}" for key, one, other in rows]


def _copy(source: Path, target: Path) -> bool:
    """Copies a file, JSON without spaces, unless it is missing or unchanged; returns whether it was written."""
    if not source.is_file():
        return False
    content = source.read_bytes()
    return _write(target, compact(json.loads(content)).encode() if source.suffix == ".json" else content)


def _write(target: Path, content: bytes) -> bool:
    if target.is_file() and target.read_bytes() == content:
        return False
    replace(target, lambda temporary: temporary.write_bytes(content))
    return True


def _copy_maps(source: Path, target: Path, shown: list[tuple[str, int]]) -> bool:
    """Copies the maps that figures show, averaged over heads, and empties the others, unless the record has maps."""
    if not source.is_file() or target.is_file():
        return False
    with np.load(source, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    layers = Counter(name.partition(".")[0] for name in arrays)
    wanted = {f"{kind}.{range(layers[kind])[at]}" for kind, at in shown if -layers[kind] <= at < layers[kind]}
    for name in arrays:
        if name in wanted:
            arrays[name] = arrays[name].astype(np.float32).mean(axis=0, keepdims=True).astype(np.float16)
        elif "." in name:
            arrays[name] = np.zeros((1, 0, 0), np.float16)
    replace(target, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **arrays))
    return True


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


def read_recorded(experiment: Experiment, record: Path | None, results: Path) -> Recorded:
    """Returns what a record replaces: runs with the experiment's settings, except for how they are computed.

    A run is not restored if its weights exist or are needed: by a run that starts from it and is to be trained, or for
    a file that a study needs and the record lacks. The statistics of a corpus are restored if no run needs its text. A
    missing record replaces nothing. Raises `SettingsError` for a mistake in claims.yaml.
    """
    if record is None or not record.is_dir():
        return Recorded(frozenset(), {}, {})
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
        elif not (results / "runs" / run.path / "model.safetensors").is_file():
            runs[run.path] = [step for step, files in STEPS.items() if all((folder / file).is_file() for file in files)]
    trained = [run for run in experiment.runs if run.path not in runs]
    for start in {start for run in trained for start in experiment.with_starts(run)[:-1]}:
        runs.pop(start.path, None)
    files = [f"runs/{run}/{file}" for run, steps in runs.items() for step in steps for file in STEPS[step]]
    files += [f"runs/{run}/{ATTENTION}" for run, steps in runs.items() if "analyse" in steps]
    files += [search.path for search in experiment.tuning.searches if held.has_choice(search)]
    for name in experiment.datasets:
        if not _needs_text(held, name, runs):
            files += corpus_files(experiment, name)
    files += [VARIANCE_LAW, *([MEASURED_FILE] if _same_measuring(experiment, record) else [])]
    return Recorded(frozenset(file for file in files if (record / file).is_file()), runs, unusable)


def _needed_files(experiment: Experiment) -> dict[str, list[str]]:
    """Returns the files that studies and claims need of each run, by the run's path, without attention maps."""
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


def _needs_text(held: Record, name: str, runs: Container[str]) -> bool:
    """Returns whether a run of a dataset or of its tuning is not among `runs`, or the text is already prepared."""
    experiment, results = held.experiment, held.results
    searches = [search for search in experiment.tuning.searches if split_dataset(search.run.dataset)[0] == name]
    tuned = all((results / search.path).is_file() or held.has_choice(search) for search in searches)
    restored = all(run.path in runs for run in experiment.runs if split_dataset(run.dataset)[0] == name)
    return not (tuned and restored) or (results / "corpora" / name / "store").is_dir()


def _same_measuring(experiment: Experiment, record: Path) -> bool:
    """Returns whether a record has the experiment's measurements: of its systems, with its settings."""
    study, content = experiment.measured_study, read_json(record / MEASURED_FILE)
    if study is None or content is None:
        return False
    config = experiment.studies[study]
    assert config.measured is not None
    systems = {point["system"] for point in content["points"]}
    return set(config.systems) <= systems and content["settings"] == config.measured.model_dump(mode="json")
