from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import ArchiveConfig
from reluformer.corpus import CorpusError
from reluformer.corpus import fetch as module
from reluformer.corpus.fetch import fetch

GOOD = b"the published file\n"
SHA = hashlib.sha256(GOOD).hexdigest()
URLS = ["http://one.invalid/file", "http://two.invalid/file"]


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | None]:
    """The content that each URL serves; None is an error."""
    served: dict[str, bytes | None] = {}

    def download(url: str, part: Path) -> None:
        content = served[url]
        if content is None:
            raise CorpusError(f"{url}: HTTP 404 Not Found")
        part.write_bytes(content)

    monkeypatch.setattr(module, "download", download)
    return served


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_first_mirror(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors[URLS[0]] = GOOD
    path = fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", None)
    assert path == tmp_path / "r" / "file"
    assert path.read_bytes() == GOOD
    assert names(tmp_path / "r") == ["file"]


@pytest.mark.parametrize("first", [None, b"another file"])
def test_next_mirror_after_an_error_or_another_file(
    tmp_path: Path, mirrors: dict[str, bytes | None], first: bytes | None
) -> None:
    mirrors |= dict(zip(URLS, (first, GOOD), strict=True))
    assert fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path, None).read_bytes() == GOOD


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Moved</title>", b"\n<HTML>\nPlease log in\n"])
def test_a_web_page_is_no_archive_and_its_checksum_is_not_trusted(
    tmp_path: Path, mirrors: dict[str, bytes | None], page: bytes
) -> None:
    mirrors |= dict(zip(URLS, (page, GOOD), strict=True))
    assert fetch(ArchiveConfig(name="file", urls=URLS), tmp_path, None).read_bytes() == GOOD
    assert (tmp_path / "file.sha256").read_text() == f"{SHA}  file\n"
    with pytest.raises(CorpusError, match=r"one\.invalid/file: a web page in place of file\.txt"):
        fetch(ArchiveConfig(name="file.txt", urls=URLS[:1]), tmp_path, None)
    assert fetch(ArchiveConfig(name="file.html", urls=URLS[:1]), tmp_path, None).read_bytes() == page


def test_no_mirror_has_it(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors |= dict(zip(URLS, (None, b"another file"), strict=True))
    with pytest.raises(CorpusError) as error:
        fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path, None)
    message = str(error.value)
    assert "one.invalid/file: HTTP 404" in message and f"expected {SHA}" in message and "archives=DIR" in message
    assert "\n" not in message
    assert names(tmp_path) == []


def test_unknown_checksum_is_recorded_and_enforced(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    archive = ArchiveConfig(name="file", urls=URLS[:1])
    mirrors[URLS[0]] = GOOD
    path = fetch(archive, tmp_path, None)
    assert (tmp_path / "file.sha256").read_text() == f"{SHA}  file\n"
    path.unlink()
    mirrors[URLS[0]] = b"another file"
    with pytest.raises(CorpusError, match=r"delete file\.sha256 beside it"):
        fetch(archive, tmp_path, None)
    assert names(tmp_path) == ["file.sha256"]


def test_an_existing_file_is_verified_and_kept(tmp_path: Path) -> None:
    archive = ArchiveConfig(name="file", sha256=SHA)
    (tmp_path / "file").write_bytes(GOOD)
    before = (tmp_path / "file").stat().st_mtime_ns
    assert fetch(archive, tmp_path, None).stat().st_mtime_ns == before
    (tmp_path / "file").write_bytes(b"damaged")
    with pytest.raises(CorpusError, match="sha256"):
        fetch(archive, tmp_path, None)


def test_archives_folder_comes_before_the_network(tmp_path: Path) -> None:
    (tmp_path / "archives" / "deep").mkdir(parents=True)
    (tmp_path / "archives" / "deep" / "file").write_bytes(GOOD)
    path = fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", tmp_path / "archives")
    assert path.read_bytes() == GOOD
    assert (tmp_path / "archives" / "deep" / "file").is_file()


def test_archives_folder_without_the_file(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors[URLS[0]] = GOOD
    (tmp_path / "archives").mkdir()
    assert fetch(ArchiveConfig(name="file", urls=URLS), tmp_path / "r", tmp_path / "archives").read_bytes() == GOOD


def test_archives_folder_with_another_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"another file")
    with pytest.raises(CorpusError, match=f"{tmp_path / 'file'}: sha256 is"):
        fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", tmp_path)
    assert names(tmp_path / "r") == []


def test_several_files_of_that_name(tmp_path: Path) -> None:
    for folder, content in (("a", b"another"), ("b", GOOD)):
        (tmp_path / "archives" / folder).mkdir(parents=True)
        (tmp_path / "archives" / folder / "file").write_bytes(content)
    known, unknown = ArchiveConfig(name="file", sha256=SHA), ArchiveConfig(name="file")
    assert fetch(known, tmp_path / "r", tmp_path / "archives").read_bytes() == GOOD
    with pytest.raises(CorpusError, match="several different files are called file"):
        fetch(unknown, tmp_path / "other", tmp_path / "archives")


def test_no_such_archives_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no such folder"):
        fetch(ArchiveConfig(name="file"), tmp_path / "r", tmp_path / "no")


def test_an_archive_without_any_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="it has no URL"):
        fetch(ArchiveConfig(name="file"), tmp_path, None)


def test_unsafe_tar_is_not_installed(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../x"))
    mirrors[URLS[0]] = buffer.getvalue()
    with pytest.raises(CorpusError, match="refused"):
        fetch(ArchiveConfig(name="file.tgz", urls=URLS[:1]), tmp_path, None)
    assert names(tmp_path) == []


class Pip:
    """Stands in for `pip download`."""

    def __init__(self, wheel: str | None, stderr: str = "") -> None:
        self.wheel, self.stderr, self.command = wheel, stderr, [""]

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.command = command
        if self.wheel:
            (Path(command[command.index("--dest") + 1]) / self.wheel).write_bytes(GOOD)
        return subprocess.CompletedProcess(command, 0 if self.wheel else 1, stderr=self.stderr)


def test_pip_downloads_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip("a-1-py3-none-any.whl")
    monkeypatch.setattr(subprocess, "run", pip)
    archive = ArchiveConfig(name="a-1-py3-none-any.whl", pip="a==1", python="3.14.2", sha256=SHA)
    assert fetch(archive, tmp_path, None).read_bytes() == GOOD
    assert pip.command[:4] == [sys.executable, "-m", "pip", "download"]
    assert pip.command[-1] == "a==1"
    assert not any("index" in part or "://" in part for part in pip.command)
    assert names(tmp_path) == ["a-1-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("pip", "message"),
    [
        (Pip(None, "WARNING: x\nERROR: No matching distribution found for a==1\n"), "a==1: No matching distribution"),
        (Pip("a-2-py3-none-any.whl"), r"gave a-2-py3-none-any\.whl"),
    ],
)
def test_pip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip, message: str) -> None:
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(CorpusError, match=message):
        fetch(ArchiveConfig(name="a-1-py3-none-any.whl", pip="a==1"), tmp_path, None)
    assert names(tmp_path) == []
