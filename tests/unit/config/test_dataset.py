from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import ArchiveConfig, CorpusConfig
from reluformer.config.settings import SettingsError, load, parse, read_yaml

DATASETS = Path(__file__).parents[3] / "config" / "datasets"
BASE: dict[str, Any] = {
    "reader": "homeassistant",
    "archives": [{"name": "a.whl"}],
    "held_out": {"valid": 0.1, "test": 0.1},
}
LINES: dict[str, Any] = {
    "reader": "lines",
    "archives": [{"name": "a"}, {"name": "b"}],
    "files": {"train": {"src": "a", "tgt": "b"}},
    "held_out": {"valid": 0.1, "test": 0.1},
}


@pytest.mark.parametrize("path", sorted(DATASETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_published_datasets_are_valid(path: Path) -> None:
    config = parse(CorpusConfig, read_yaml(path)["corpus"], str(path))
    assert config.archives


def test_datasets_of_one_text_have_one_licence() -> None:
    terms: dict[str, set[tuple[str, bool]]] = {}
    for path in DATASETS.glob("*.yaml"):
        content = read_yaml(path)
        for archive in content["corpus"]["archives"]:
            of_text = terms.setdefault(archive["name"], set())
            of_text.add((content["corpus"]["licence"], content.get("redistribute", False)))
    assert {name: found for name, found in terms.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": {"lengths": [64]}}, "segments need documents"),
        ({"lowercase": True, "truecase": True}, "exclude each other"),
        ({"held_out": {"valid": 0.5, "test": 0.5}}, "leaves nothing"),
        ({"held_out": {"valid": 0.1}}, "no test text"),
        ({"held_out": {"test": 0.1}}, "no valid text"),
        ({"documents": True, "valid_every": 3}, "would cut documents"),
        ({"vocabulery": 3}, "did you mean 'vocabulary'"),
        ({"min_words": -1}, "min_words"),
        ({"archives": []}, "archives"),
        ({"document_mark": "<d>"}, "files and document_mark are for reader lines, not homeassistant"),
        ({"files": {"train": {"src": "a.whl", "tgt": "a.whl"}}}, "files and document_mark are for reader lines"),
        ({"reader": "iwslt14"}, "test is both in the archives and in held_out"),
        ({"reader": "iwslt14", "held_out": {"valid": 0.1}, "documents": True}, "reader iwslt14 reads none; set joined"),
    ],
)
def test_contradictions_are_one_line_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        parse(CorpusConfig, BASE | change, "x.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("x.yaml: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "needs files.train"),
        ({"files": {"train": {"src": "a", "tgt": "c"}}}, "'c' is not the name of an archive"),
        ({"files": {split: {"src": "a", "tgt": "b"} for split in ("train", "valid", "test")}}, "both in files and"),
        ({"documents": True}, "needs document_mark"),
    ],
)
def test_line_corpora(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(CorpusConfig, LINES | change, "x.yaml")


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_archive_names_are_plain(name: str) -> None:
    with pytest.raises(SettingsError, match="plain file name"):
        parse(ArchiveConfig, {"name": name}, "x.yaml")


def test_an_archive_has_one_source() -> None:
    with pytest.raises(SettingsError, match="either urls or pip"):
        parse(ArchiveConfig, {"name": "a", "urls": ["u"], "pip": "a==1"}, "x.yaml")


def test_demo_wheel_is_pinned() -> None:
    for name in ("demo-sentences", "demo-documents"):
        (archive,) = load_corpus(name).archives
        assert archive.sha256 and archive.pip and "==" in archive.pip and not archive.urls


def load_corpus(name: str) -> CorpusConfig:
    return parse(CorpusConfig, read_yaml(DATASETS / f"{name}.yaml")["corpus"], name)


def test_load_is_strict(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: a\nsha: b\n")
    with pytest.raises(SettingsError, match="unknown key; did you mean 'sha256'"):
        load(ArchiveConfig, tmp_path / "x.yaml")
