from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reluformer.corpus.errors import CorpusError
from reluformer.corpus.readers.textfile import aligned, read_lines


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


def test_gzip(tmp_path: Path) -> None:
    assert lines(tmp_path / "f.gz", gzip.compress("ä\nb\n".encode())) == ["ä", "b"]


def test_broken_gzip(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"f\.gz: broken gzip data: it is cut short"):
        lines(tmp_path / "f.gz", gzip.compress(b"a\n" * 50_000)[:-20])


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
