"""The record of an experiment: what its tables are made from, small enough and free enough to be committed.

A record has the layout of `results/`, without weights and without text. A run in it counts as done, see
`reluformer.paper.recorded`; its tables are computed anew by `reluformer.paper.recompute`.
"""

from __future__ import annotations

import json
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
"""The configuration that a record's tables are made by, with the folder of the files that it names."""
CONFIG = "config.yaml"
STEPS: dict[str, tuple[str, ...]] = {
    "train": (CONFIG, LOG, SUMMARY),
    "score": (TRANSLATION, SCORES, COUNTS),
    "analyse": (ANALYSIS,),
}
"""The files of a run that a record holds, by the step that makes the last of them."""
CORPUS_FILES = ("statistics.json", "provenance.json")
OWN_KEYS = ("archives", "force", "partial", "record")
"""Keys of config.yaml that say how something is run here, and not what."""
HOW = {
    "training": {
        *("processes", "nodes", "threads", "accumulation", "zero_stage", "activation_checkpointing", "compile"),
        *("log_every", "keep", "checkpoint_minutes", "tensorboard"),
    },
    "translation": {"batch_tokens", "graphs"},
    "model": {"vocabulary"},
}
"""Keys of a run that say how it is computed and not what, or (the vocabulary) that its corpus decides."""
CORPUS_ANYWAY = {"archives", "licence", "segments"}
"""Keys of a corpus that do not change its text: where it is published, its terms, its views."""
NOT_TUNED = "its system is not tuned yet: neither the results nor the record have its choice"


class Taken(NamedTuple):
    """What `take` did: runs that are new or have more files than before, runs there already, and what it left out."""

    new: list[str]
    kept: list[str]
    refused: list[str]


def may_enter(file: str, redistribute: bool) -> bool:
    """Whether a file of a run or a corpus, by its name, may be in a record.

    Numbers and settings may. The tokens on the axes of an attention map are text, so it may where the dataset's licence
    lets its text be passed on (`redistribute`). Nothing else: no hypotheses, no subword model, no weights.
    """
    numbers = {file for files in STEPS.values() for file in files} | {*CORPUS_FILES, MEASURED, Path(VARIANCE_LAW).name}
    return file in numbers or (file == ATTENTION and redistribute)


def take(experiment: Experiment, results: Path, record: Path) -> Taken:
    """Copies the light files of every finished run, of the corpora and of what is measured into a record.

    Only what is new is written, each file whole or not at all, so that it can be called while other runs go on. A run
    is refused, in a sentence, where its settings are not those of the experiment or of the record, or where the record
    holds another training of it. Raises `SettingsError` for a record of another experiment.
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
        (taken.new if any(written) else taken.kept).append(run.path)
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
    """What `reluformer ... --config record/NAME/experiment.json` reads an experiment from."""
    config = experiment.config.model_dump(mode="json", exclude=set(OWN_KEYS))
    return {"config": config, "folder": experiment.folder.as_posix(), "name": experiment.name}


def recordable_runs(experiment: Experiment, results: Path) -> Iterator[Run]:
    """The runs of an experiment, and those made beside them under its configuration, whose training has ended."""
    for path in sorted((results / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        try:
            experiment.resolve(run)
        except SettingsError:
            continue  # of another experiment
        yield run


def other_text(experiment: Experiment, dataset: str, record: Path, results: Path) -> str | None:
    """Why a record's runs of a dataset are of another text than is asked for, or than is prepared here; None: they are
    not. A record or results without the corpus say nothing.
    """
    found = [_provenance(folder / "corpora" / dataset) for folder in (record, results)]
    if found[0] is None:
        return None
    wanted = experiment.datasets[dataset].corpus.model_dump(mode="json", exclude=CORPUS_ANYWAY)
    try:
        recorded = parse(CorpusConfig, found[0]["configuration"], f"{record / 'corpora' / dataset}")
    except SettingsError as error:
        return str(error)
    if changed := list(_differences(recorded.model_dump(mode="json", exclude=CORPUS_ANYWAY), wanted, "corpus")):
        return f"{record} has {dataset} prepared in another way: {'; '.join(changed)}"
    if found[1] is not None:
        sums = [{one["name"]: one["sha256"] for one in each["archives"]} for each in found if each]
        if sums[0] != sums[1]:
            return f"{record} has {dataset} made of other archives than {results} has"
    return None


def wanted(experiment: Experiment, run: Run, record: Path, results: Path) -> RunConfig | None:
    """The settings that a run is to have, tuned values among them; None where they have not been chosen yet."""
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
    """Whether a record has the choice of a search: of the same grid, from the same values."""
    path = record / search.path
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    about = {"grid": search.grid, "start": search.start, "seed": search.run.seed}
    return all(found.get(key) == json.loads(json.dumps(value)) for key, value in about.items())


def differing_settings(wanted: RunConfig, recorded: RunConfig) -> list[str]:
    """What a recorded run was made with other than `wanted`, as `training.updates: 100, not 200`."""
    return list(_differences(deciding(recorded), deciding(wanted)))


def deciding(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that decide its result."""
    content = config.model_dump(mode="json", exclude={"tuned"})  # what was tuned is in its place
    return {key: _without(value, HOW.get(key, set())) for key, value in content.items()}


def shown_maps(experiment: Experiment) -> dict[Run, list[tuple[str, int]]]:
    """The attention maps that figures show, by run: (attention, layer)."""
    shown: dict[Run, list[tuple[str, int]]] = {}
    for study, config in experiment.studies.items():
        for figure in config.figures.values():
            if figure.kind == "attention-maps":
                for run in figure_runs(experiment, study, figure):
                    shown.setdefault(run, []).append((figure.attention, figure.layer))
    return shown


def compact(content: Any) -> str:
    """JSON in as little room as it takes."""
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
    """Why a finished run does not go into the record; None where it does. expected: see `wanted`."""
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


def _differences(found: Any, wanted: Any, key: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in {**found, **wanted}:
            yield from _differences(found.get(name), wanted.get(name), f"{key}.{name}" if key else name)
    elif found != wanted:
        yield f"{key}: {found!r}, not {wanted!r}"


def _without(value: Any, keys: set[str]) -> Any:
    return {key: one for key, one in value.items() if key not in keys} if isinstance(value, dict) else value


def _copy(source: Path, target: Path) -> bool:
    """Whether a file was written: JSON in less room, everything else as it is. A file that is not there is left out."""
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
    """Copies the maps that figures show, each its mean over heads, unless they are there."""
    if not source.is_file() or target.is_file():
        return False
    with np.load(source, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in ("index", "src_tokens", "tgt_tokens") if name in arrays.files}
        for attention, layer in shown:
            layers = sorted(
                (name for name in arrays.files if name.startswith(f"{attention}.")),
                key=lambda name: int(name.partition(".")[2]),
            )
            for name in layers:  # empty ones keep the place of layers that no figure shows
                kept.setdefault(name, np.zeros((1, 0, 0), np.float16))
            if -len(layers) <= layer < len(layers):
                mean = arrays[layers[layer]].astype(np.float32).mean(axis=0, keepdims=True)
                kept[layers[layer]] = mean.astype(np.float16)
    replace(target, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **kept))
    return True
