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
        folder = Path(temporary) / "de-en"
        name = "train.tags.de-en"
        train = [_Text(archive, folder / f"{name}.{side}", left_out) for side in (src, tgt)]
        for _, one, other in aligned(iter(train[0]), iter(train[1]), train[0].name, train[1].name):
            if _marked(one) != _marked(other):
                raise CorpusError(
                    f"{train[0].name}:{train[0].number} and {train[1].name}:{train[1].number}: a tag is missing on one "
                    f"side: {one[:60]!r}, {other[:60]!r}"
                )
            yield Pair("train", "", _STRIPPED.sub("", one), _STRIPPED.sub("", other))
        for test in TEST_SETS:
            name = f"IWSLT14.{test}.de-en"
            sides = [_Text(archive, folder / f"{name}.{side}.xml", left_out) for side in (src, tgt)]
            for _, one, other in aligned(iter(sides[0]), iter(sides[1]), sides[0].name, sides[1].name):
                yield Pair("test", "", one, other)


def _marked(line: str) -> str | None:
    """Returns the tag of a title or description; it is the same on both sides unless they are misaligned."""
    match = _MARK.match(line)
    return match and match[1]


class _Text:
    """The text lines of one file: the `<seg>` lines of an .xml file, otherwise the lines without a dropped tag."""

    def __init__(self, archive: Path, path: Path, left_out: Counter[str]) -> None:
        self._left_out = left_out
        self._path = path
        self.name = f"{archive}: de-en/{path.name}"
        self.number = 0  # of the last line, in the file

    def __iter__(self) -> Iterator[str]:
        if not self._path.is_file():
            raise CorpusError(f"{self.name}: the file is missing from the archive")
        segments = self._path.suffix == ".xml"
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream_lines(stream, self.name), start=1):
                self.number = number
                if segments:
                    if "<seg id" in line:
                        yield self._segment(line)
                    else:
                        self._left_out["lines that are no segment, of both sides"] += 1
                elif not _DROPPED.search(line):
                    yield line
                else:
                    self._left_out["lines of tags, of both sides"] += 1

    def _segment(self, line: str) -> str:
        text, opened = _OPEN.subn("", line)
        text, closed = _CLOSE.subn("", text)
        if not opened or not closed:
            raise CorpusError(f"{self.name}:{self.number}: a <seg> line without both of its tags: {line[:60]!r}")
        return text
