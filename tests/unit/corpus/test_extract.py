from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reluformer.corpus.errors import CorpusError
from reluformer.corpus.extract import extract, verify_members

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def archive(path: Path, *members: tuple[str, Callable[[tarfile.TarInfo], None] | bytes]) -> Path:
    """A tar.gz with a good file first and then the members given."""
    with tarfile.open(path, "w:gz") as tar:
        for name, what in (("good", b"abc"), *members):
            member = tarfile.TarInfo(name)
            data = what if isinstance(what, bytes) else b""
            member.size = len(data)
            if not isinstance(what, bytes):
                what(member)
            tar.addfile(member, io.BytesIO(data))
    return path


def a(kind: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, target

    return change


@pytest.mark.parametrize(
    ("name", "what", "message"),
    [
        ("../x", b"x", "'../x' lies outside"),
        ("a/../../x", b"x", "lies outside"),
        ("/tmp/reluformer-x", b"x", "lies outside"),
        ("..\\x", b"x", "lies outside"),
        ("link", a(tarfile.SYMTYPE, "/etc/passwd"), "'link' is a link"),
        ("inner", a(tarfile.SYMTYPE, "good"), "'inner' is a link"),
        ("hard", a(tarfile.LNKTYPE, "good"), "'hard' is a link"),
        ("device", a(tarfile.CHRTYPE), "'device' is a device"),
        ("block", a(tarfile.BLKTYPE), "'block' is a device"),
        ("fifo", a(tarfile.FIFOTYPE), "'fifo' is a device or special"),
    ],
)
def test_refused_before_anything_is_written(
    tmp_path: Path, name: str, what: Callable[[tarfile.TarInfo], None] | bytes, message: str
) -> None:
    bad = archive(tmp_path / "bad.tgz", (name, what))
    with pytest.raises(CorpusError, match="refused") as error:
        extract(bad, tmp_path / "out")
    assert message in str(error.value) and str(bad) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tgz"]


def test_extracts(tmp_path: Path) -> None:
    extract(archive(tmp_path / "good.tgz", ("folder/file", b"text")), tmp_path / "out")
    assert (tmp_path / "out" / "good").read_bytes() == b"abc"
    assert (tmp_path / "out" / "folder" / "file").read_bytes() == b"text"


def test_extracts_with_a_python_that_knows_no_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract_all = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda tar, folder: extract_all(tar, folder))
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    extract(archive(tmp_path / "a.tgz"), tmp_path / "there")
    assert (tmp_path / "there" / "good").read_bytes() == b"abc"


def test_members_have_their_checksums(tmp_path: Path) -> None:
    good = archive(tmp_path / "good.tgz", ("other", b"x"))
    verify_members(good, {"good": ABC})
    with pytest.raises(CorpusError, match=f"other: sha256 is [0-9a-f]+, expected {ABC}"):
        verify_members(good, {"other": ABC})
    with pytest.raises(CorpusError, match="absent is missing from the archive"):
        verify_members(good, {"absent": ABC})


@pytest.mark.parametrize(("keep", "message"), [(0, "an empty file"), (10, "broken gzip"), (100, "broken gzip")])
def test_broken_archives(tmp_path: Path, keep: int, message: str) -> None:
    whole = archive(tmp_path / "whole.tgz", ("big", bytes(range(256)) * 200)).read_bytes()
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(whole[:keep])
    with pytest.raises(CorpusError, match=rf"broken\.tgz: {message}"):
        extract(broken, tmp_path / "out")
