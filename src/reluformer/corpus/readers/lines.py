"""Plain line-aligned files, with or without document marks: any parallel corpus, from one YAML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.content import aligned, read_lines
from reluformer.corpus.pairs import SPLITS, Pair, Split


def read(config: CorpusConfig, src: str, tgt: str, files: dict[str, Path], left_out: Counter[str]) -> Iterator[Pair]:
    """Yields the pairs of each split's files, split by split. Raises `CorpusError`."""
    for split in SPLITS:
        if split in config.files:
            sides = config.files[split]
            yield from _read_split(config, split, files[sides.src], files[sides.tgt], left_out)


def _read_split(config: CorpusConfig, split: Split, src: Path, tgt: Path, left_out: Counter[str]) -> Iterator[Pair]:
    document, count = "", 0
    mark = config.document_mark
    for number, one, other in aligned(read_lines(src), read_lines(tgt), str(src), str(tgt)):
        if mark is not None:
            marks = one.strip() == mark, other.strip() == mark
            if all(marks):
                count += 1
                left_out["document marks"] += 1
                document = f"{split}-{count}"
                continue
            if any(marks):
                marked, plain = (src, tgt) if marks[0] else (tgt, src)
                raise CorpusError(f"{marked}:{number}: {mark} without its counterpart in {plain}")
            if not count:
                raise CorpusError(f"{src}:{number}: text before the first {mark}")
        yield Pair(split, document, one, other)
