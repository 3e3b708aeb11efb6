"""What a file holds, told by its first bytes and never by its name: text, compressed text, or something else.

gzip, xz, bzip2 and Zstandard data are read as what is in them, also several members one after the other and one
compression inside another. Whatever else is not text is named, in one line.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from reluformer.corpus.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSED: dict[str, tuple[tuple[bytes, ...], Any]] = {
    "gzip": ((b"\x1f\x8b",), gzip.open),
    "xz": ((b"\xfd7zXZ\x00", b"\x5d\x00\x00\x80\x00", b"\x5d\x00\x00\x00\x04"), lzma.open),
    "bzip2": (tuple(b"BZh%d%b" % (i, then) for i in range(1, 10) for then in (b"1AY&SY", b"\x17rE8P\x90")), bz2.open),
    "zstd": ((b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))), zstd.open),
}
"""The first bytes of each kind of compressed data, and what reads it."""
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError)

TEXT, EMPTY, TAR = "text", "an empty file", "a tar archive"
UTF16 = "UTF-16 text"
KINDS = {
    "a zip archive": (b"PK\x03\x04", b"PK\x05\x06"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c",),
    "a RAR archive": (b"Rar!\x1a\x07",),
    "lz4 data": (b"\x04\x22\x4d\x18",),
    "a PDF document": (b"%PDF-",),
    "a PNG image": (b"\x89PNG\r\n\x1a\n",),
    "a JPEG image": (b"\xff\xd8\xff",),
    "a GIF image": (b"GIF87a", b"GIF89a"),
    "a Parquet table": (b"PAR1",),
    "an Arrow table": (b"ARROW1", b"\xff\xff\xff\xff\x10\x00\x00\x00"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n",),
    "a NumPy array": (b"\x93NUMPY",),
    "a SQLite database": (b"SQLite format 3\x00",),
    "an old Office document": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    "a program": (b"\x7fELF", b"MZ\x90\x00"),
    "a pickle": (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    "UTF-32 text": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"),
    UTF16: (b"\xff\xfe", b"\xfe\xff"),
    "a Git LFS pointer, not the file itself": (b"version https://git-lfs.github.com/spec/",),
    "a web page": (b"<!doctype html", b"<html"),
}
"""What is neither text nor compressed, by its first bytes in lower case; the longer beginnings come first."""
_KINDS = [(start.lower(), kind) for kind, starts in KINDS.items() for start in starts]
ADVICE = {
    TAR: "unpack it and name the files in it",
    "a zip archive": "unpack it and name the files in it",
    UTF16: "save it as UTF-8",
    "UTF-32 text": "save it as UTF-8",
    "a web page": "the link leads to a page about the file",
    "a Git LFS pointer, not the file itself": "fetch the file itself, by git lfs pull",
}
HEAD = 512


def kind_of(head: bytes) -> str:
    """What data is by its first `HEAD` bytes: `text`, a key of `COMPRESSED`, or a description (`a PDF document`)."""
    if not head:
        return EMPTY
    for name, (starts, _) in COMPRESSED.items():
        if head.startswith(starts):
            return name
    if head[257:262] == b"ustar":
        return TAR
    lowered = head.lstrip().lower() if head.lstrip().startswith(b"<") else head.lower()
    for start, kind in _KINDS:
        if lowered.startswith(start) and (b"\x00" in head or not start.isalnum()):
            return kind
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30:
        return "safetensors weights"
    # ASCII in UTF-16 without a mark: every other byte is NUL
    if len(head) > 3 and (not any(head[1:40:2]) or not any(head[0:40:2])):
        return UTF16
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return "binary data" if 4 * controls > len(head) else TEXT


def opened(stream: BinaryIO, name: str) -> tuple[BinaryIO, str]:
    """The data of a stream with every compression undone, and its kind. Raises `CorpusError` naming `name`.

    stream: is buffered if it is not yet.
    """
    if not hasattr(stream, "peek"):
        stream = io.BufferedReader(stream)  # type: ignore[type-var]
    for _ in range(4):
        kind = kind_of(bytes(stream.peek(HEAD)[:HEAD]))
        if kind not in COMPRESSED:
            return stream, kind
        stream = io.BufferedReader(_Named(COMPRESSED[kind][1](stream), name, kind), 1 << 16)
    raise CorpusError(f"{name}: compressed more than three times")


def opened_text(stream: BinaryIO, name: str) -> BinaryIO:
    """The text in a stream, every compression undone. Raises `CorpusError` where it holds something else."""
    data, kind = opened(stream, name)
    if kind not in (TEXT, EMPTY):
        advice = f"; {ADVICE[kind]}" if kind in ADVICE else ""
        raise CorpusError(f"{name}: {kind}, where text is expected{advice}")
    return data


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """The text in a file, every compression undone. Raises `CorpusError`."""
    with _open(path) as file:
        yield opened_text(file, str(path))


@contextmanager
def open_data(path: Path, name: str = "") -> Iterator[tuple[BinaryIO, str]]:
    """The data in a file, every compression undone, and its kind. Raises `CorpusError` that names it `name`."""
    with _open(path) as file:
        yield opened(file, name or str(path))


def content_of(path: Path) -> str:
    """The kind of the data in a file, every compression undone. Raises `CorpusError`."""
    with open_data(path) as (_, kind):
        return kind


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise CorpusError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CorpusError(f"{path}: {(error.strerror or str(error)).lower()}") from None


class _Named(io.RawIOBase):
    """Decompressed data whose errors are a `CorpusError` that names the file."""

    def __init__(self, stream: Any, name: str, kind: str) -> None:
        self._stream, self._name, self._kind = stream, name, kind

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._call(self._stream.seek, offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        data = self._call(self._stream.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (*BROKEN, OSError) as error:
            if isinstance(error, CorpusError):
                raise
            raise CorpusError(f"{self._name}: broken {self._kind} data: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return "it is cut short" if isinstance(error, EOFError) else " ".join(str(error).split()).lower()
