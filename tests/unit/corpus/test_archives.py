"""Where archives are stored: no corpus gets another's file, and changes are detected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import ArchiveConfig, DatasetConfig
from reluformer.config.settings import parse
from reluformer.corpus import CorpusError
from reluformer.corpus.archives import (
    Checksums,
    Fetched,
    archive_places,
    edited_state,
    fetched_state,
    find_archive,
    places_of,
    record_of,
    sole_places,
)
from reluformer.corpus.fetch import fetch

ONE, OTHER = "1" * 64, "2" * 64


def dataset(*archives: dict[str, Any]) -> DatasetConfig:
    train = {"src": archives[0]["name"], "tgt": archives[-1]["name"]}
    corpus = {"reader": "lines", "archives": list(archives), "files": {"train": train}}
    corpus |= {"held_out": {"valid": 0.1, "test": 0.1}}
    return parse(DatasetConfig, {"title": "t", "src": "a", "tgt": "b", "corpus": corpus}, "d.yaml")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"name": "train.de"}, {"name": "train.de"}, ["a/train.de", "b/train.de"]),
        ({"name": "x", "sha256": ONE}, {"name": "x", "sha256": ONE}, ["x"]),
        ({"name": "x", "sha256": ONE}, {"name": "x", "sha256": OTHER}, ["a/x", "b/x"]),
        ({"name": "x", "sha256": ONE}, {"name": "X", "sha256": OTHER}, ["a/x", "b/X"]),
        ({"name": "x", "sha256": ONE}, {"name": "x"}, ["a/x", "b/x"]),
        ({"name": "x", "urls": ["http://1"]}, {"name": "x", "urls": ["http://2"]}, ["a/x", "b/x"]),
        ({"name": "b", "sha256": ONE}, {"name": "y"}, ["a/b", "b/y"]),
    ],
)
def test_only_archives_with_equal_checksums_are_shared(
    a: dict[str, Any], b: dict[str, Any], expected: list[str]
) -> None:
    datasets = {"a": dataset(a), "b": dataset(b)}
    places = archive_places(datasets)
    assert list(places) == expected
    for name in datasets:
        assert places_of(name, places, datasets[name].corpus.archives)[0] in (expected[0], expected[-1])
    sole = {place.partition("/")[2]: place for place in expected if "/" in place}
    names = [place.partition("/")[2] for place in expected]
    assert sole_places(places) == {name: place for name, place in sole.items() if names.count(name) == 1}


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_datasets_get_their_own_file_of_several_with_one_name(tmp_path: Path) -> None:
    archive, folder = ArchiveConfig(name="train.de"), tmp_path / "archives"
    for name in ("a", "b"):
        written(folder / "corpora" / name / "train.de", name)
    for name in ("a", "b"):
        assert fetch(archive, tmp_path / "resources" / name, folder, name).read_text() == name
    with pytest.raises(CorpusError, match=r"several different files.*put that of this dataset into a folder called c"):
        find_archive(folder, archive, "c")
    assert find_archive(folder, ArchiveConfig(name="absent"), "a") is None


class Project:
    """A folder of archives, a file fetched from it, and the states that the workflow compares."""

    def __init__(self, folder: Path) -> None:
        self.fetched = Fetched("a", ArchiveConfig(name="n"))
        self.archives, self.target, self.sums = folder / "archives", folder / "resources" / "a" / "n", folder / "sums"
        self.source = written(self.archives / "n", "old text")

    def fetch(self) -> None:
        self.target.unlink(missing_ok=True)  # as Snakemake does
        fetch(self.fetched.archive, self.target.parent, self.archives, "a")

    def states(self, archives: bool = True) -> tuple[str, str]:
        sums = Checksums(self.sums)
        state = fetched_state(self.fetched, self.target, self.archives if archives else None, sums)
        return state, edited_state([(self.fetched.archive, self.target)], sums)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_unchanged_files_keep_their_state(project: Project) -> None:
    before = project.states()
    project.fetch()
    assert project.states() == before
    assert project.states(archives=False) == before  # the folder need not be given again
    os.utime(project.source, (1, 1))  # a new timestamp alone is no change
    os.utime(project.target)
    assert project.states() == before


@pytest.mark.parametrize("how", ["newer", "older", "same size and time"])
def test_an_archive_that_was_corrected_is_fetched_anew(project: Project, how: str) -> None:
    project.fetch()
    before, stat = project.states(), project.source.stat()
    project.source.write_text("new text")
    if how != "newer":
        when = stat.st_mtime_ns if how == "same size and time" else 1
        os.utime(project.source, ns=(when, when))
    changed = project.states()
    assert changed[0] != before[0]
    project.fetch()
    assert project.target.read_text() == "new text"
    assert project.states() == changed  # fetching once is enough


@pytest.mark.parametrize("older", [False, True])
def test_a_file_edited_in_resources_is_prepared_anew_and_kept(project: Project, older: bool) -> None:
    project.fetch()
    before = project.states()
    project.target.write_text("my text")
    if older:
        os.utime(project.target, (1, 1))
    changed = project.states()
    assert changed[0] == before[0] and changed[1] != before[1] == ""
    project.target.write_text("old text")
    assert project.states() == before


def test_a_download_is_not_fetched_again_from_a_folder_that_has_the_same(project: Project) -> None:
    project.fetch()
    record = record_of(project.target)
    assert record is not None and record.local
    file = project.target.with_name("n.sha256")
    file.write_text(f"{record.sha256}  n\n")  # as a download writes it
    assert project.states(archives=False) == project.states() == ("", "")


def test_checksums_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "n", "text")
    result = Checksums(tmp_path / "sums")(path)
    monkeypatch.setattr("reluformer.corpus.archives.sha256", lambda path: pytest.fail("read again"))
    assert Checksums(tmp_path / "sums")(path) == result
    (tmp_path / "sums").write_text("{")
    monkeypatch.setattr("reluformer.corpus.archives.sha256", lambda path: "anew")
    assert Checksums(tmp_path / "sums")(path) == "anew"
