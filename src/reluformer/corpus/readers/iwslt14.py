"""IWSLT14 as fairseq's prepare-iwslt14.sh reads it: archive `de-en.tgz`, folder `de-en/`."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.content import aligned, extract, stream_lines
from reluformer.corpus.pairs import Pair

Line = tuple[str, str]
"""A line's location (file and number) and its text."""
TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")

_DROPPED = re.compile(r"<(?:url|talkid|keywords|speaker|reviewer|translator)\b")
_STRIPPED = re.compile(r"</?(?:title|description)>")
_MARK = re.compile(r"\s*<(title|description)>")
_OPEN = re.compile(r'<seg id="[0-9]*">\s*')
_CLOSE = re.compile(r"\s*</seg>\s*")


def read(config: CorpusConfig, src: str, tgt: str, files: dict[str, Path], left_out: Counter[str]) -> Iterator[Pair]:
    """Yields training pairs in file order, then the five test sets; `config.valid_every` cuts valid from train."""
    (archive,) = files.values()
    with tempfile.TemporaryDirectory(prefix="iwslt14-") as temporary:
        extract(archive, Path(temporary))

        def pairs(name: str) -> Iterator[tuple[int, Line, Line]]:
            names = [name.format(side) for side in (src, tgt)]
            sides = [_lines(archive, Path(temporary, "de-en", name), left_out) for name in names]
            return aligned(sides[0], sides[1], *(f"{archive}: de-en/{name}" for name in names))

        for _, (place, one), (other_place, other) in pairs("train.tags.de-en.{}"):
            if _marked(one) != _marked(other):
                raise CorpusError(
                    f"{place} and {other_place}: a tag is missing on one side: {one[:60]!r}, {other[:60]!r}"
                )
            yield Pair("train", "", _STRIPPED.sub("", one), _STRIPPED.sub("", other))
        for test in TEST_SETS:
            for _, (_, one), (_, other) in pairs(f"IWSLT14.{test}.de-en.{{}}.xml"):
                yield Pair("test", "", one, other)


def _marked(line: str) -> str | None:
    """Returns the tag of a title or description; it is the same on both sides unless they are misaligned."""
    match = _MARK.match(line)
    return match and match[1]


def _lines(archive: Path, path: Path, left_out: Counter[str]) -> Iterator[Line]:
    """Yields the `<seg>` lines of an .xml file without their tags; of other files, the lines without a dropped tag."""
    name = f"{archive}: de-en/{path.name}"
    if not path.is_file():
        raise CorpusError(f"{name}: the file is missing from the archive")
    segments = path.suffix == ".xml"
    with path.open("rb") as stream:
        for number, line in enumerate(stream_lines(stream, name), start=1):
            if not segments and not _DROPPED.search(line):
                yield f"{name}:{number}", line
            elif segments and "<seg id" in line:
                text, opened = _OPEN.subn("", line)
                text, closed = _CLOSE.subn("", text)
                if not opened or not closed:
                    raise CorpusError(f"{name}:{number}: a <seg> line without both of its tags: {line[:60]!r}")
                yield f"{name}:{number}", text
            else:
                what = "lines that are no segment" if segments else "lines of tags"
                left_out[f"{what}, of both sides"] += 1
