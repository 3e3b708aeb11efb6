"""Document views: whole sentences packed into segments of at most L subword tokens."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.pairs import SPLITS
from reluformer.corpus.prepare import CHUNK, chunks
from reluformer.corpus.store import Sequences, Store, StoreWriter, length_distribution
from reluformer.corpus.subword import SENT
from reluformer.files import write_json


class Segment(NamedTuple):
    """`sentences` consecutive sentences from sentence `first` of a split; `document` is that of the first."""

    document: int
    first: int
    sentences: int


def segments(
    src_lengths: NDArray[np.integer],
    tgt_lengths: NDArray[np.integer],
    documents: NDArray[np.int64],
    packing: str,
    length: int,
) -> Iterator[Segment]:
    """Yields greedily packed segments: a sentence is added while the longer side has at most `length` tokens.

    Tokens are subwords and the `<sent>` marks between sentences, without EOS. `within` ends segments at the end of a
    document, `across` does not. A longer sentence is its own segment.
    """
    borders = documents.tolist() if packing == "within" else [0, int(documents[-1])]
    for begin, end in itertools.pairwise(borders):
        first, src, tgt = begin, -1, -1  # -1, since no mark precedes the first sentence
        lengths = zip(src_lengths[begin:end].tolist(), tgt_lengths[begin:end].tolist(), strict=True)
        for i, (s, t) in enumerate(lengths, start=begin):
            if i > first and max(src + s, tgt + t) + 1 > length:
                yield Segment(_document_of(documents, first), first, i - first)
                first, src, tgt = i, -1, -1
            src, tgt = src + s + 1, tgt + t + 1
        if end > first:
            yield Segment(_document_of(documents, first), first, end - first)


def _document_of(documents: NDArray[np.int64], sentence: int) -> int:
    return int(np.searchsorted(documents, sentence, side="right")) - 1


def pack(config: CorpusConfig, src: str, tgt: str, corpus: Path, packing: str, length: int) -> None:
    """Writes the view `corpus/PACKING-L/` of a prepared document corpus. Raises `CorpusError`."""
    if config.segments is None or packing not in config.segments.packing or length not in config.segments.lengths:
        raise CorpusError(f"{corpus}: {packing}-{length} is not among the segments of the dataset's configuration")
    view = corpus / f"{packing}-{length}"
    partial = corpus / f".{packing}-{length}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    splits = {split: _pack_split(corpus, split, packing, length, partial) for split in SPLITS}
    languages = {"src": src, "tgt": tgt}
    statistics = {"packing": packing, "length": length, "languages": languages, "splits": splits}
    write_json(partial / "statistics.json", statistics)
    shutil.rmtree(view, ignore_errors=True)
    partial.replace(view)


def _pack_split(corpus: Path, split: str, packing: str, length: int, view: Path) -> dict[str, object]:
    store = Store(corpus / "store" / split)
    if store.documents is None:
        raise CorpusError(f"{store.folder}: the corpus was prepared without documents")
    names = _document_names(corpus / f"{split}.documents.txt")
    with (
        StoreWriter(view / "store" / split, store.vocabulary, documents=packing == "within") as writer,
        (view / f"{split}.segments.tsv").open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("document", "first", "count"))
        cut = segments(store.src_lengths, store.tgt_lengths, store.documents, packing, length)
        for batch in chunks(cut, CHUNK):
            table.writerows((names[segment.document], segment.first, segment.sentences) for segment in batch)
            src, tgt = (Sequences.of([_join(read, segment) for segment in batch]) for read in (store.src, store.tgt))
            writer.add(src, tgt, [names[segment.document] for segment in batch])
    packed = Store(view / "store" / split)
    return {
        "documents": len(names),
        "sentences": len(store),
        "segments": writer.sequences,
        "tokens": writer.tokens,
        "lengths": length_distribution(np.maximum(packed.src_lengths, packed.tgt_lengths), length),
    }


def _join(read: Callable[[int], NDArray[np.integer]], segment: Segment) -> list[int]:
    ids = read(segment.first).tolist()
    for i in range(segment.first + 1, segment.first + segment.sentences):
        ids.append(SENT)
        ids += read(i).tolist()
    return ids


def _document_names(path: Path) -> list[str]:
    """Returns the distinct document ids of a split in order."""
    with path.open(encoding="utf-8") as file:
        return [name.removesuffix("\n") for name, _ in itertools.groupby(file)]
