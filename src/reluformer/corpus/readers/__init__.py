"""Corpus readers: turn archives into aligned raw pairs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reluformer.config.dataset import CorpusConfig, HeldOutConfig
from reluformer.corpus.pairs import Pair, Split, split_of
from reluformer.corpus.readers import homeassistant, iwslt14, lines

READERS = {"homeassistant": homeassistant.read, "iwslt14": iwslt14.read, "lines": lines.read}


def read(
    config: CorpusConfig, src: str, tgt: str, archives: list[Path], left_out: Counter[str] | None = None
) -> Iterator[Pair]:
    """Yields every pair of a corpus in its own order, within the configured limits.

    archives: in the order of `config.archives`. left_out: counts what was skipped, by description.

    Raises `CorpusError` at the first error in the files.
    """
    files = {archive.name: path for archive, path in zip(config.archives, archives, strict=True)}
    left_out = Counter() if left_out is None else left_out
    pairs: Iterator[Pair] = READERS[config.reader](config, src, tgt, files, left_out)
    if config.joined is not None:
        pairs = _join(pairs, config.joined)
    if config.held_out.valid or config.held_out.test:
        pairs = _hold_out(pairs, config.held_out)
    if config.limit_documents is not None:
        pairs = _limit_documents(pairs, config.limit_documents, left_out)
    if config.limit is not None:
        pairs = _limit_training(pairs, config.limit, left_out)
    return pairs


def _join(pairs: Iterator[Pair], size: int) -> Iterator[Pair]:
    """Groups `size` consecutive pairs of a split into documents."""
    count: Counter[Split] = Counter()
    for pair in pairs:
        document = f"{pair.split}-{count[pair.split] // size + 1}"
        count[pair.split] += 1
        yield pair._replace(document=document)


def _hold_out(pairs: Iterator[Pair], held_out: HeldOutConfig) -> Iterator[Pair]:
    """Moves a share of train to valid and test: whole documents, or all pairs with the same source text."""
    for pair in pairs:
        if pair.split == "train":
            pair = pair._replace(split=split_of(pair.document or pair.src, held_out))
        yield pair


def _limit_documents(pairs: Iterator[Pair], limit: int, left_out: Counter[str]) -> Iterator[Pair]:
    """Yields the first `limit` documents of each split."""
    seen: Counter[str] = Counter()
    for (split, _), group in itertools.groupby(pairs, key=lambda pair: (pair.split, pair.document)):
        seen[split] += 1
        if seen[split] <= limit:
            yield from group
        else:
            left_out["pairs of documents beyond limit_documents"] += sum(1 for _ in group)


def _limit_training(pairs: Iterator[Pair], limit: int, left_out: Counter[str]) -> Iterator[Pair]:
    """Yields the first `limit` training pairs, and all other pairs."""
    count = 0
    for pair in pairs:
        count += pair.split == "train"
        if pair.split != "train" or count <= limit:
            yield pair
        else:
            left_out["training pairs beyond limit"] += 1
