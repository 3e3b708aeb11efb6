"""Files are recognised by content: each kind is read, or named in the error, whatever the file is called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reluformer.corpus import CorpusError
from reluformer.corpus.content import (
    aligned,
    content_of,
    decompress_text,
    extract,
    kind_of,
    read_lines,
    verify_members,
    zstd,
)

TEXT = "ä\nb\n\nc\n".encode()
LINES = ["ä", "b", "", "c"]


def tar_of(content: bytes, *names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zip_of(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", content)
    return stream.getvalue()


READ = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "lzma": lzma.compress(TEXT, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress(TEXT),
    "zstd": zstd.compress(TEXT),
    "two gzip members": gzip.compress(TEXT[:4]) + gzip.compress(TEXT[4:]),
    "two zstd frames": zstd.compress(TEXT[:4]) + zstd.compress(TEXT[4:]),
    "two xz streams": lzma.compress(TEXT[:4]) + lzma.compress(TEXT[4:]),
    "xz in gzip": gzip.compress(lzma.compress(TEXT)),
    "a byte order mark in gzip": gzip.compress(b"\xef\xbb\xbf" + TEXT),
}


@pytest.mark.parametrize("name", ["f", "f.gz", "f.GZ", "f.txt", "f.zst", "f.tgz"])
@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_text_is_read_whatever_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_lines(tmp_path / name)) == LINES


NAMED: dict[str, tuple[bytes, str]] = {
    "zip": (zip_of(TEXT), "a zip archive, where text is expected; unpack it"),
    "tar": (tar_of(TEXT, "a"), "a tar archive, where text is expected; unpack it"),
    "tar in gzip": (gzip.compress(tar_of(TEXT, "a")), "a tar archive"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "parquet": (b"PAR1\x15\x00\x15", "a Parquet table"),
    "utf-16": ("abc\n".encode("utf-16"), "UTF-16 text, where text is expected; save it as UTF-8"),
    "utf-16 without a mark": ("abc\n".encode("utf-16-le"), "UTF-16 text"),
    "utf-32": ("abc\n".encode("utf-32"), "UTF-32 text"),
    "a web page": (b"\n<!DOCTYPE html>\n<html>", "a web page, where text is expected; the link leads to a page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "anything": (bytes(range(9, 40)) + b"\x00\x01", "binary data"),
    "in gzip": (gzip.compress(b"%PDF-1.7\n"), "a PDF document"),
}


@pytest.mark.parametrize(("content", "message"), NAMED.values(), ids=NAMED.keys())
def test_what_is_not_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "corpus.de").write_bytes(content)
    with pytest.raises(CorpusError, match=f"corpus.de: {message}") as caught:
        list(read_lines(tmp_path / "corpus.de"))
    assert "\n" not in str(caught.value)


OTHER = {
    "png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "safetensors": (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"',
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
    "pickle": b"\x80\x04\x95\x00",
    "program": b"\x7fELF\x02\x01\x01\x00",
    "database": b"SQLite format 3\x00\x10\x00",
}


@pytest.mark.parametrize("content", OTHER.values(), ids=OTHER.keys())
def test_binary_files_are_not_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(CorpusError, match=r"f: binary data, where text|f:1: (a NUL byte: .* not text|invalid UTF-8)"):
        list(read_lines(tmp_path / "f"))


LONG = b"".join(b"line %d\n" % (i * i) for i in range(20_000))


@pytest.mark.parametrize(
    ("kind", "compress"),
    [("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress), ("zstd", zstd.compress)],
)
@pytest.mark.parametrize("broken", ["cut", "damaged"])
def test_broken_data_is_a_one_line_error(tmp_path: Path, kind: str, compress: Any, broken: str) -> None:
    data = bytearray(compress(LONG))
    middle = len(data) // 2
    data = data[:middle] if broken == "cut" else data[:middle] + bytes(400) + data[middle + 400 :]
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(CorpusError, match=f"f: broken {kind} data: {'it is cut short' if broken == 'cut' else ''}"):
        list(read_lines(tmp_path / "f"))


@pytest.mark.parametrize("text", [b"PAR1 is a word\n", b"BZh is one\n", b"MZ\n", b"GIF89a\n", b"<p>text</p>\n", b"\n"])
def test_text_that_begins_like_something_else(text: bytes) -> None:
    assert kind_of(text) == "text"


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_tar_archives_by_content(tmp_path: Path, compress: Any) -> None:
    (tmp_path / "a.zip").write_bytes(compress(tar_of(TEXT, "d/a")))
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "d" / "a").read_bytes() == TEXT
    assert content_of(tmp_path / "a.zip") == "a tar archive"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file, where a tar archive is expected"),
        (TEXT, "text, where a tar archive is expected"),
        (zip_of(TEXT), "a zip archive, where a tar archive is expected"),
        (gzip.compress(TEXT), "text, where a tar archive is expected"),
        (gzip.compress(tar_of(LONG, "a"))[:9000], "broken gzip data: it is cut short"),
        (tar_of(TEXT, "a", "a"), "'a' is in the archive twice"),
    ],
    ids=["empty", "text", "zip", "gzip of text", "cut short", "a member twice"],
)
def test_what_is_no_tar_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "de-en.tgz").write_bytes(content)
    with pytest.raises(CorpusError, match=rf"de-en\.tgz: .*{message}|de-en\.tgz: {message}"):
        extract(tmp_path / "de-en.tgz", tmp_path / "out")


def test_a_gzip_stream_without_a_name() -> None:
    assert decompress_text(io.BytesIO(READ["zstd"]), "standard input").read() == TEXT
    assert decompress_text(io.BytesIO(b""), "standard input").read() == b""


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def archive(path: Path, *members: tuple[str, Callable[[tarfile.TarInfo], None] | bytes]) -> Path:
    """Writes a tar.gz with a valid file and then the given members."""
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


def lines(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return list(read_lines(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\u2028b\x85c\x0cd\n".encode(), ["a\u2028b\x85c\x0cd"]),
        (b"a\rb\n", ["a\rb"]),
        (b"x" * 100_000 + b"\ny\n", ["x" * 100_000, "y"]),
    ],
    ids=["lf", "no final lf", "crlf", "empty line", "bom", "other line ends", "cr inside", "100,000 characters"],
)
def test_only_lf_and_crlf_end_a_line(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    assert lines(tmp_path / "f", content) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ok\nk\xe4se\n", r"f:2: invalid UTF-8 at byte 2"),
        (b"ok\nok\n\x00\n", r"f:3: a NUL byte"),
        ("text\n".encode("utf-16"), r"f: UTF-16 text, where text is expected"),
        (b"", r"f: the file is empty"),
    ],
    ids=["latin-1", "nul", "utf-16", "empty"],
)
def test_what_is_not_text_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        lines(tmp_path / "f", content)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no such file"):
        list(read_lines(tmp_path / "no"))


def test_aligned() -> None:
    assert list(aligned(iter("ab"), iter("cd"), "x", "y")) == [(1, "a", "c"), (2, "b", "d")]


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        ("abc", "a", "y ends at line 1, x at line 3: the files must be line-aligned"),
        ("a", "ab", "x ends at line 1, y at line 2"),
        ("", "ab", "x ends at line 0, y at line 2"),
    ],
)
def test_unequal_line_counts_name_both(src: str, tgt: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        list(aligned(iter(src), iter(tgt), "x", "y"))
