"""The record of an experiment: the small, redistributable files that its tables are computed from.

A record has the layout of `results/`, without weights and text. A run in it counts as done, see
`reluformer.paper.recorded`; `reluformer.paper.recompute` builds its tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reluformer.config.dataset import CorpusConfig
from reluformer.config.evaluation import COUNTS
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ANALYSIS, ATTENTION, LOG, MEASURED, SCORES, SUMMARY, TRANSLATION
from reluformer.config.run import Run, RunConfig, split_dataset
from reluformer.config.search import Search
from reluformer.config.settings import SettingsError, parse
from reluformer.config.tuning import apply_choice, read_choice
from reluformer.files import replace, sha256, write_text
from reluformer.paper.outputs import VARIANCE_LAW, figure_runs

EXPERIMENT = "experiment.json"
"""The configuration of a record's tables, with the folder of the files that it names."""
CONFIG = "config.yaml"
STEPS: dict[str, tuple[str, ...]] = {
    "train": (CONFIG, LOG, SUMMARY),
    "score": (TRANSLATION, SCORES, COUNTS),
    "analyse": (ANALYSIS,),
}
"""The files of a run in a record, by the step that writes the last of them."""
CORPUS_FILES = ("statistics.json", "provenance.json")
OWN_KEYS = ("archives", "force", "partial", "record")
"""Keys of config.yaml that decide how something runs here, not what."""
HOW = {
    "training": {
        *("processes", "nodes", "threads", "accumulation", "zero_stage", "activation_checkpointing", "compile"),
        *("log_every", "keep", "checkpoint_minutes", "tensorboard"),
    },
    "translation": {"batch_tokens", "graphs"},
    "model": {"vocabulary"},
}
"""Keys of a run that decide how it is computed, not what, and the vocabulary, which follows from its corpus."""
CORPUS_ANYWAY = {"archives", "licence", "segments"}
"""Keys of a corpus that do not change its text: its addresses, its licence, its views."""
NOT_TUNED = "its system is not tuned yet: neither the results nor the record have the choice"


class Taken(NamedTuple):
    """The runs that `take` added or extended, those already in the record, and those refused, with the reason."""

    new: list[str]
    unchanged: list[str]
    refused: list[str]


def may_enter(file: str, redistribute: bool) -> bool:
    """Whether a file of a run or a corpus, by its name, may be in a record.

    Numbers and settings may. Attention maps have tokens on their axes, so they may if the dataset's licence permits to
    redistribute its text. Nothing else may: no hypotheses, no subword model, no weights.
    """
    numbers = {file for files in STEPS.values() for file in files} | {*CORPUS_FILES, MEASURED, Path(VARIANCE_LAW).name}
    return file in numbers or (file == ATTENTION and redistribute)


def take(experiment: Experiment, results: Path, record: Path) -> Taken:
    """Copies the small files of every finished run, of the corpora and of the measuring into a record.

    Writes only what is new, each file atomically, so it can run beside trainings. Refuses a run whose settings differ
    from the experiment's or the record's, or of which the record holds another training. Raises `SettingsError` for a
    record of another experiment.
    """
    content = experiment_content(experiment)
    _check_experiment(record, content)
    taken = Taken([], [], [])
    maps = shown_maps(experiment)
    texts = {name: other_text(experiment, name, record, results) for name in experiment.datasets}
    for run in recordable_runs(experiment, results):
        folder, target = results / "runs" / run.path, record / "runs" / run.path
        other = texts[split_dataset(run.dataset)[0]]
        if (reason := other or _refusal(wanted(experiment, run, record, results), folder, target)) is not None:
            taken.refused.append(f"{run.path}: {reason}")
            continue
        free = experiment.dataset(run.dataset).redistribute
        written = [
            _copy(folder / file, target / file)
            for files in STEPS.values()
            for file in files
            if all((folder / one).is_file() for one in files) and may_enter(file, free)
        ]
        if run in maps and may_enter(ATTENTION, free):
            written.append(_copy_maps(folder / ATTENTION, target / ATTENTION, maps[run]))
        (taken.new if any(written) else taken.unchanged).append(run.path)
    for name in sorted({run.dataset for run in experiment.runs}):
        base, view = split_dataset(name)
        if texts[base] is not None:
            continue
        for file in CORPUS_FILES:
            _copy(results / "corpora" / base / file, record / "corpora" / base / file)
        if view:
            path = Path("corpora", base, view, "statistics.json")
            _copy(results / path, record / path)
    for search in experiment.tuning.searches:
        _copy(results / search.path, record / search.path)
    for file in (f"paper/{MEASURED}", VARIANCE_LAW):
        _copy(results / file, record / file)
    _write(record / EXPERIMENT, compact(content))
    return taken


def experiment_content(experiment: Experiment) -> dict[str, Any]:
    """Returns the content of experiment.json, from which `--config` reads an experiment."""
    config = experiment.config.model_dump(mode="json", exclude=set(OWN_KEYS))
    return {"config": config, "folder": experiment.folder.as_posix(), "name": experiment.name}


def recordable_runs(experiment: Experiment, results: Path) -> Iterator[Run]:
    """Yields the runs with an ended training that the configuration resolves, those outside its studies included."""
    for path in sorted((results / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        try:
            experiment.resolve(run)
        except SettingsError:
            continue  # of another experiment
        yield run


def other_text(experiment: Experiment, dataset: str, record: Path, results: Path) -> str | None:
    """Returns how the text of a record's dataset differs from the configuration's or from the prepared one, or None.

    A record or results without the corpus do not differ.
    """
    theirs, ours = (_provenance(folder / "corpora" / dataset) for folder in (record, results))
    if theirs is None:
        return None
    wanted = experiment.datasets[dataset].corpus.model_dump(mode="json", exclude=CORPUS_ANYWAY)
    try:
        recorded = parse(CorpusConfig, theirs["configuration"], f"{record / 'corpora' / dataset}")
    except SettingsError as error:
        return str(error)
    if changed := _changed(recorded.model_dump(mode="json", exclude=CORPUS_ANYWAY), wanted, "corpus"):
        return f"{record} has {dataset} prepared in another way: {'; '.join(changed)}"
    if ours is not None:
        checksums = [{one["name"]: one["sha256"] for one in each["archives"]} for each in (theirs, ours)]
        if checksums[0] != checksums[1]:
            return f"{record} has {dataset} from other archives than {results}"
    return None


def wanted(experiment: Experiment, run: Run, record: Path, results: Path) -> RunConfig | None:
    """Returns a run's settings with its tuned values; None if these have not been chosen yet."""
    search = experiment.tuning.search_for(run)
    if search is None:
        return experiment.resolve(run)
    choice = results / search.path
    if not choice.is_file():
        choice = record / search.path
        if not recorded_search(search, record):
            return None
    return apply_choice(experiment.resolve(run), read_choice(choice))


def recorded_search(search: Search, record: Path) -> bool:
    """Whether a record has the choice of a search with the same grid and the same start."""
    path = record / search.path
    if not path.is_file():
        return False
    choice = json.loads(path.read_text(encoding="utf-8"))
    about = {"grid": search.grid, "start": search.start, "seed": search.run.seed}
    return all(choice.get(key) == json.loads(json.dumps(value)) for key, value in about.items())


def differing_settings(wanted: RunConfig, recorded: RunConfig) -> list[str]:
    """Returns the settings of a recorded run that are not `wanted`, as `training.updates: 100, not 200`."""
    return _changed(deciding(recorded), deciding(wanted))


def deciding(config: RunConfig) -> dict[str, Any]:
    """Returns the settings of a run that decide its result."""
    content = config.model_dump(mode="json", exclude={"tuned"})  # tuned values are among the others
    return {key: _without(value, HOW.get(key, set())) for key, value in content.items()}


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


def _check_experiment(record: Path, content: dict[str, Any]) -> None:
    path = record / EXPERIMENT
    if not path.is_file():
        return
    title = json.loads(path.read_text(encoding="utf-8"))["config"]["title"]
    if title != content["config"]["title"]:
        raise SettingsError(f"{record}: it is the record of {title!r}, not of {content['config']['title']!r}")


def _provenance(corpus: Path) -> dict[str, Any] | None:
    path = corpus / "provenance.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _refusal(expected: RunConfig | None, folder: Path, target: Path) -> str | None:
    """Why a finished run does not go into the record, or None. expected: see `wanted`."""
    config = RunConfig.load(folder)
    if expected is None:
        return NOT_TUNED
    if changed := differing_settings(expected, config):
        return f"it was trained with other settings than the configuration's: {'; '.join(changed)}"
    if not (target / CONFIG).is_file():
        return None
    if changed := differing_settings(RunConfig.load(target), config):
        return f"{target} has it with other settings: {'; '.join(changed)}"
    ours, theirs = (json.loads((place / SUMMARY).read_text(encoding="utf-8")) for place in (folder, target))
    return None if ours == theirs else f"{target} holds another training of it; remove that to take this one"


def _changed(recorded: Any, wanted: Any, key: str = "") -> list[str]:
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


def _without(value: Any, keys: set[str]) -> Any:
    return {key: one for key, one in value.items() if key not in keys} if isinstance(value, dict) else value


def _copy(source: Path, target: Path) -> bool:
    """Copies a file, JSON without spaces, unless it is missing or unchanged; returns whether it was written."""
    if not source.is_file():
        return False
    if source.suffix == ".json":
        return _write(target, compact(json.loads(source.read_text(encoding="utf-8"))))
    if target.is_file() and sha256(target) == sha256(source):
        return False
    replace(target, lambda temporary: temporary.write_bytes(source.read_bytes()))
    return True


def _write(target: Path, text: str) -> bool:
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    write_text(target, text)
    return True


def _copy_maps(source: Path, target: Path, shown: list[tuple[str, int]]) -> bool:
    """Copies the maps that figures show, each its mean over heads, unless the record has maps."""
    if not source.is_file() or target.is_file():
        return False
    with np.load(source, allow_pickle=False) as arrays:
        shown_arrays = {name: arrays[name] for name in ("index", "src_tokens", "tgt_tokens") if name in arrays.files}
        for attention, layer in shown:
            layers = sorted(
                (name for name in arrays.files if name.startswith(f"{attention}.")),
                key=lambda name: int(name.partition(".")[2]),
            )
            for name in layers:  # empty ones stand for layers that no figure shows
                shown_arrays.setdefault(name, np.zeros((1, 0, 0), np.float16))
            if -len(layers) <= layer < len(layers):
                mean = arrays[layers[layer]].astype(np.float32).mean(axis=0, keepdims=True)
                shown_arrays[layers[layer]] = mean.astype(np.float16)
    replace(target, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **shown_arrays))
    return True
