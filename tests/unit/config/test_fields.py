"""Names that must be unique: a clash is refused in one line before anything runs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from reluformer.config.dataset import CorpusConfig, DatasetConfig, Preparation
from reluformer.config.experiment import Experiment
from reluformer.config.settings import SettingsError, parse, refuse_clash
from reluformer.paper.outputs import refuse_shared_outputs

CORPUS: dict[str, Any] = {
    "reader": "lines",
    "archives": [{"name": "text.de"}, {"name": "text.en"}],
    "held_out": {"valid": 0.1, "test": 0.1},
    "files": {"train": {"src": "text.de", "tgt": "text.en"}},
}
DATASET = {"title": "Pairs", "src": "de", "tgt": "en", "corpus": CORPUS}
SYSTEMS = {"transformer": {"title": "T"}, "relu": {"title": "R"}}
STUDY = {"title": "t", "question": "?", "columns": ["bleu"], "systems": ["transformer"], "dataset": "sentences"}
CONFIG = {"title": "t", "datasets": {"sentences": "pairs"}, "seeds": [1]}


def experiment(folder: Path, config: Any = None, **files: Any) -> Experiment:
    """Returns an experiment from tiny files; names such as `a/b` are paths below `folder`."""
    written = {"systems": SYSTEMS, "studies": {"one": STUDY}, "datasets/pairs": DATASET, **files}
    for name, content in written.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return Experiment({**CONFIG, **(config or {})}, folder, "c.yaml")


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a seed twice": ({"seeds": [1, 1]}, {}, r"c\.yaml: seeds: .*1 is repeated"),
    "a study's seed twice": (None, {"studies": {"one": {**STUDY, "seeds": [2, 2]}}}, "seeds: .*2 is repeated"),
    "a system twice": (
        None,
        {"studies": {"one": {**STUDY, "systems": ["relu", "relu"]}}},
        "systems: .*'relu' is repeated",
    ),
    "a value twice": (None, {"studies": {"one": {**STUDY, "vary": {"gamma": [1, 1.0]}}}}, r"1\.0 is repeated"),
    "a length twice": (None, {"studies": {"one": {**STUDY, "lengths": [64, 64]}}}, "64 is repeated"),
    "a packing twice": (None, {"studies": {"one": {**STUDY, "packing": ["within"] * 2}}}, "'within' is repeated"),
    "a chosen study twice": ({"only": ["one", "one"]}, {}, "only: .*'one' is repeated"),
    "a study of a stage twice": ({"stages": {"s": ["one", "one"]}}, {}, r"stages\.s: .*'one' is repeated"),
    "studies by case": (
        None,
        {"studies": {"one": STUDY, "One": STUDY}},
        "'One' and 'one' are the same name|'one' and 'One'",
    ),
    "systems by case": (None, {"systems": {**SYSTEMS, "ReLU": {"title": "R"}}}, "'ReLU' and 'relu' are the same name"),
    "a role that is a dataset": (
        {"datasets": {"pairs": "other", "sentences": "pairs"}},
        {"datasets/other": DATASET},
        r"'pairs' is both a role \(of 'other'\) and a dataset's name",
    ),
}


@pytest.mark.parametrize(("config", "files", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_duplicate_names_are_one_line_errors(tmp_path: Path, config: Any, files: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        experiment(tmp_path, config, **files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("a/x", "b/x", "are both the dataset 'x'; rename one file"),
        ("a/x", "b/X", "'x' and 'X' are the same name"),
        ("a/caf\u00e9", "b/cafe\u0301", "are the same name"),
        ("a/x", "a/../a/x", None),
    ],
)
def test_datasets_are_named_by_the_stem_of_their_file(
    tmp_path: Path, one: str, other: str, message: str | None
) -> None:
    files = {one: DATASET, other: DATASET}
    config = {"datasets": {"sentences": f"{tmp_path}/{one}.yaml", "documents": f"{tmp_path}/{other}.yaml"}}
    if message is None:
        assert list(experiment(tmp_path, config, **files).datasets) == ["x"]
        return
    with pytest.raises(SettingsError, match=message):
        experiment(tmp_path, config, **files)


def test_two_roles_share_a_dataset_and_yml_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(yaml.safe_dump(DATASET))
    loaded = experiment(
        tmp_path, {"datasets": {"sentences": f"{tmp_path}/own.yml", "documents": f"{tmp_path}/own.yml"}}
    )
    assert list(loaded.datasets) == ["own"] and set(loaded.roles.values()) == {"own"}


def test_figures_of_two_studies_in_one_file(tmp_path: Path) -> None:
    curves = {"kind": "training-curves", "title": "t"}
    studies = {"a": {**STUDY, "figures": {"b-c": curves}}, "a-b": {**STUDY, "figures": {"c": curves}}}
    with pytest.raises(SettingsError, match=r"studies a and a-b both write .*a-b-c\.svg; rename"):
        refuse_shared_outputs(experiment(tmp_path, studies=studies))


@pytest.mark.parametrize(
    ("archives", "message"),
    [
        (["x", "x", "text.de", "text.en"], "'x' is repeated"),
        (["Train", "train", "text.de", "text.en"], "'Train' and 'train' are the same name on disks that ignore case"),
        (["text.de", "text.en", "text.de.sha256"], "must not end in .sha256"),
    ],
)
def test_archives_of_one_corpus(archives: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(CorpusConfig, {**CORPUS, "archives": [{"name": name} for name in archives]}, "d.yaml")


@pytest.mark.parametrize("code", ["de", "no", "pt-BR", "zh_Hant", "jpn", "zh-Hans-CN", "es-419", "x"])
def test_language_codes(code: str) -> None:
    assert parse(DatasetConfig, {**DATASET, "src": code}, "d.yaml").src == code


@pytest.mark.parametrize("code", ["", "de/en", "../x", "de ", "de.en", "*"])
def test_invalid_language_codes(code: str) -> None:
    with pytest.raises(SettingsError, match=r"src: .*: not a language code such as de"):
        parse(DatasetConfig, {**DATASET, "src": code}, "d.yaml")


def test_a_reader_that_tells_the_sides_by_language_needs_two() -> None:
    corpus = copy.deepcopy(CORPUS) | {"reader": "homeassistant", "files": {}}
    with pytest.raises(SettingsError, match="src and tgt are the same language"):
        parse(Preparation, {"src": "de", "tgt": "DE", "corpus": corpus}, "d.yaml")


def test_clash() -> None:
    refuse_clash(["a", "b", "a"], "here")
    with pytest.raises(SettingsError, match="here: 'Stra\u00dfe' and 'STRASSE' are the same name"):
        refuse_clash(["Stra\u00dfe", "b", "STRASSE"], "here")
