"""Line-aligned text files, read strictly: whatever is not plain UTF-8 text is one error with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from reluformer.corpus.content import open_text
from reluformer.corpus.errors import CorpusError


def decode(raw: bytes, name: str, number: int) -> str:
    """One line without its end (LF or CRLF). Raises `CorpusError` at invalid UTF-8 and at NUL."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name}:{number}: invalid UTF-8 at byte {error.start + 1} of the line") from None
    if "\0" in text:
        raise CorpusError(f"{name}:{number}: a NUL byte: the file is not text")
    if number == 1:
        text = text.removeprefix("\ufeff")
    return text.removesuffix("\n").removesuffix("\r")


def stream_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """The lines of an open file; only LF ends a line. Raises `CorpusError` naming `name` and the line."""
    number = 0
    for number, raw in enumerate(stream, start=1):
        yield decode(raw, name, number)
    if number == 0:
        raise CorpusError(f"{name}: the file is empty")


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, compressed or not. Raises `CorpusError`."""
    with open_text(path) as stream:
        yield from stream_lines(stream, str(path))


def aligned(src: Iterator[str], tgt: Iterator[str], src_name: str, tgt_name: str) -> Iterator[tuple[int, str, str]]:
    """`(line number, src, tgt)`; raises `CorpusError` with both counts where one side ends before the other."""
    missing = object()
    number = 0
    for number, (one, other) in enumerate(zip_longest(src, tgt, fillvalue=missing), start=1):
        if isinstance(one, str) and isinstance(other, str):
            yield number, one, other
            continue
        short, long, rest = (src_name, tgt_name, tgt) if one is missing else (tgt_name, src_name, src)
        total = number + sum(1 for _ in rest)
        raise CorpusError(f"{short} ends at line {number - 1}, {long} at line {total}: the files must be line-aligned")
