"""What a file holds, by its content: each kind is read or named whatever the file is called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reluformer.corpus.content import content_of, kind_of, opened_text, zstd
from reluformer.corpus.errors import CorpusError
from reluformer.corpus.extract import extract
from reluformer.corpus.readers.textfile import read_lines

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


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
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
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00", "a PNG image"),
    "parquet": (b"PAR1\x15\x00\x15", "a Parquet table"),
    "safetensors": ((40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"', "safetensors weights"),
    "numpy": (array(), "a NumPy array"),
    "utf-16": ("abc\n".encode("utf-16"), "UTF-16 text, where text is expected; save it as UTF-8"),
    "utf-16 without a mark": ("abc\n".encode("utf-16-le"), "UTF-16 text"),
    "utf-32": ("abc\n".encode("utf-32"), "UTF-32 text"),
    "a web page": (b"\n<!DOCTYPE html>\n<html>", "a web page, where text is expected; the link leads to a page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "pickle": (b"\x80\x04\x95\x00", "a pickle"),
    "anything": (bytes(range(9, 40)) + b"\x00\x01", "binary data"),
    "in gzip": (gzip.compress(b"%PDF-1.7\n"), "a PDF document"),
}


@pytest.mark.parametrize(("content", "message"), NAMED.values(), ids=NAMED.keys())
def test_what_is_not_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "corpus.de").write_bytes(content)
    with pytest.raises(CorpusError, match=f"corpus.de: {message}") as caught:
        list(read_lines(tmp_path / "corpus.de"))
    assert "\n" not in str(caught.value)


LONG = b"".join(b"line %d\n" % (i * i) for i in range(20_000))


@pytest.mark.parametrize(
    ("kind", "compress"),
    [("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress), ("zstd", zstd.compress)],
)
@pytest.mark.parametrize("broken", ["cut", "damaged"])
def test_broken_data_is_one_line(tmp_path: Path, kind: str, compress: Any, broken: str) -> None:
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


def test_a_stream_without_a_name_of_its_own() -> None:
    assert opened_text(io.BytesIO(READ["zstd"]), "standard input").read() == TEXT
    assert opened_text(io.BytesIO(b""), "standard input").read() == b""
