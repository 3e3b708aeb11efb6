"""Reads files by their content, never by their name: text, compressed text, tar archives.

gzip, xz, bzip2 and Zstandard data are decompressed, including concatenated members and nested compression.
Anything else is an error, which names the kind if it is one of `KINDS`. Tar archives with links, devices or members
outside their folder are refused.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from reluformer.corpus import CorpusError

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
"""The first bytes of each kind of compressed data, and its reader."""
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstd.ZstdError)

TEXT, EMPTY, TAR, UTF16, WEB_PAGE = "text", "an empty file", "a tar archive", "UTF-16 text", "a web page"
UNPACK, RECODE = "unpack it and name the files in it", "save it as UTF-8"
KINDS = {
    b"pk\x03\x04": ("a zip archive", UNPACK),
    b"pk\x05\x06": ("a zip archive", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"rar!\x1a\x07": ("a RAR archive", UNPACK),
    b"%pdf-": ("a PDF document", "save its text as UTF-8"),
    b"par1": ("a Parquet table", "save each side as a text of its own"),
    b"\xff\xfe\x00\x00": ("UTF-32 text", RECODE),
    b"\x00\x00\xfe\xff": ("UTF-32 text", RECODE),
    b"\xff\xfe": (UTF16, RECODE),
    b"\xfe\xff": (UTF16, RECODE),
    b"version https://git-lfs.github.com/spec/": (
        "a Git LFS pointer, not the file itself",
        "fetch the file itself, by git lfs pull",
    ),
    b"<!doctype html": (WEB_PAGE, "the link leads to a page about the file"),
    b"<html": (WEB_PAGE, "the link leads to a page about the file"),
}
"""Files mistaken for a corpus's text: by their first bytes in lower case, longer ones first, kind and remedy."""
HEAD = 512

Line = TypeVar("Line")


def kind_of(head: bytes) -> str:
    """Returns the kind of data from its first `HEAD` bytes: `text`, a key of `COMPRESSED`, or e.g. `a PDF document`."""
    if not head:
        return EMPTY
    for name, (starts, _) in COMPRESSED.items():
        if head.startswith(starts):
            return name
    if head[257:262] == b"ustar":
        return TAR
    lowered = head.lstrip().lower() if head.lstrip().startswith(b"<") else head.lower()
    for start, (kind, _) in KINDS.items():
        if lowered.startswith(start) and (b"\x00" in head or not start.isalnum()):
            return kind
    # ASCII in UTF-16 without a byte order mark: every other byte is NUL
    if len(head) > 3 and (not any(head[1:40:2]) or not any(head[0:40:2])):
        return UTF16
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return "binary data" if 4 * controls > len(head) else TEXT


def decompress(stream: BinaryIO, name: str) -> tuple[BinaryIO, str]:
    """Returns the decompressed data of a stream, buffered, and its kind. Raises `CorpusError` naming `name`."""
    if not hasattr(stream, "peek"):
        stream = io.BufferedReader(stream)  # type: ignore[type-var]
    for _ in range(4):
        kind = kind_of(bytes(stream.peek(HEAD)[:HEAD]))
        if kind not in COMPRESSED:
            return stream, kind
        stream = io.BufferedReader(_Decompressed(COMPRESSED[kind][1](stream), name, kind), 1 << 16)
    raise CorpusError(f"{name}: compressed more than three times")


def decompress_text(stream: BinaryIO, name: str) -> BinaryIO:
    """Returns the decompressed text of a stream. Raises `CorpusError` if it is something else."""
    data, kind = decompress(stream, name)
    if kind not in (TEXT, EMPTY):
        advice = {TAR: UNPACK, **dict(KINDS.values())}.get(kind)
        raise CorpusError(f"{name}: {kind}, where text is expected{f'; {advice}' if advice else ''}")
    return data


def content_of(path: Path) -> str:
    """Returns the kind of the decompressed data in a file. Raises `CorpusError`."""
    with _open(path) as file:
        return decompress(file, str(path))[1]


def read_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a text file, compressed or not; only LF and CRLF end a line.

    Raises `CorpusError` with file and line for invalid UTF-8 and NUL, and for an empty file.
    """
    with _open(path) as file:
        yield from stream_lines(decompress_text(file, str(path)), str(path))


def stream_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Yields the lines of an open file, like `read_lines`."""
    number = 0
    for number, raw in enumerate(stream, start=1):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(f"{name}:{number}: invalid UTF-8 at byte {error.start + 1} of the line") from None
        if "\0" in text:
            raise CorpusError(f"{name}:{number}: a NUL byte: the file is not text")
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield text.removesuffix("\n").removesuffix("\r")
    if number == 0:
        raise CorpusError(f"{name}: the file is empty")


def aligned(src: Iterator[Line], tgt: Iterator[Line], src_name: str, tgt_name: str) -> Iterator[tuple[int, Line, Line]]:
    """Yields `(line number, src, tgt)`; raises `CorpusError` with both counts if one side is shorter."""
    for number, (one, other) in enumerate(zip_longest(src, tgt), start=1):
        if one is not None and other is not None:
            yield number, one, other
            continue
        short, long, rest = (src_name, tgt_name, tgt) if one is None else (tgt_name, src_name, src)
        total = number + sum(1 for _ in rest)
        raise CorpusError(f"{short} ends at line {number - 1}, {long} at line {total}: the files must be line-aligned")


def verify_members(archive: Path, checksums: Mapping[str, str], source: str | None = None) -> None:
    """Checks that a tar archive is safe and that its members have their checksums. Raises `CorpusError`."""
    source = source or str(archive)
    missing = set(checksums)
    with _open_tar(archive, source) as tar:
        for member in _safe(tar, source):
            if member.name in checksums:
                stream = tar.extractfile(member)
                digest = hashlib.file_digest(stream, "sha256").hexdigest() if stream else None  # type: ignore[arg-type]
                if digest != checksums[member.name]:
                    raise CorpusError(f"{source}: {member.name}: sha256 is {digest}, expected {checksums[member.name]}")
                missing.discard(member.name)
    if missing:
        raise CorpusError(f"{source}: {min(missing)} is missing from the archive")


def extract(archive: Path, folder: Path) -> None:
    """Extracts a tar archive into `folder`. Raises `CorpusError` before anything unsafe is written."""
    verify_members(archive, {})
    with _open_tar(archive, str(archive)) as tar:
        # Python before 3.11.4 (Debian 12 has 3.11.2) has no filters; `_safe` refuses what they would refuse.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)


@contextmanager
def _open_tar(archive: Path, source: str) -> Iterator[tarfile.TarFile]:
    with _open(archive) as file:
        data, kind = decompress(file, source)
        if kind != TAR:
            raise CorpusError(f"{source}: {kind}, where a tar archive is expected")
        try:
            with tarfile.open(fileobj=data, mode="r|") as tar:
                yield tar
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CorpusError(f"{source}: broken tar archive: {error}") from None


def _safe(tar: tarfile.TarFile, source: str) -> Iterator[tarfile.TarInfo]:
    files: set[str] = set()
    for member in tar:
        if member.isreg() and member.name in files:
            raise CorpusError(f"{source}: {member.name!r} is in the archive twice")
        files.add(member.name)
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise CorpusError(f"{source}: refused: {member.name!r} lies outside the archive's folder")
        if not (member.isreg() or member.isdir()):
            kind = "a link" if member.issym() or member.islnk() else "a device or special file"
            raise CorpusError(f"{source}: refused: {member.name!r} is {kind}")
        yield member


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise CorpusError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CorpusError(f"{path}: {(error.strerror or str(error)).lower()}") from None


class _Decompressed(io.RawIOBase):
    """A decompressed stream that reports errors as a `CorpusError` with the file's name."""

    def __init__(self, stream: Any, name: str, kind: str) -> None:
        self._stream, self._name, self._kind = stream, name, kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (*BROKEN, OSError) as error:
            reason = "it is cut short" if isinstance(error, EOFError) else " ".join(str(error).split()).lower()
            raise CorpusError(f"{self._name}: broken {self._kind} data: {reason}") from None
        buffer[: len(data)] = data
        return len(data)
