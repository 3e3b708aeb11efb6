"""Token ids on disk, memory-mapped: they open instantly at any size, and processes share them.

A store is a folder: `src.ids` and `tgt.ids` are the concatenated ids of all sequences, `src.offsets` and `tgt.offsets`
(int64, one more than sequences) their boundaries, `documents` (int64, one more than documents) the boundaries of
documents in sequences; `meta.json` has sizes and types.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reluformer.corpus import CorpusError

SIDES = ("src", "tgt")
OFFSET = np.dtype("<i8")


def view_folder(corpora: Path, dataset: str) -> Path:
    """Returns the folder with `store/` of a run's dataset: `D` -> corpora/D, `D@within-128` -> corpora/D/within-128."""
    return corpora / dataset.replace("@", "/", 1)


class Sequences(NamedTuple):
    """Several sequences as one array of ids and their lengths."""

    ids: NDArray[np.integer]
    lengths: NDArray[np.integer]

    @classmethod
    def of(cls, sequences: list[list[int]]) -> Sequences:
        """Flattens a list of sequences."""
        lengths = np.fromiter(map(len, sequences), OFFSET, len(sequences))
        ids = np.fromiter(itertools.chain.from_iterable(sequences), np.dtype("<u4"), int(lengths.sum()))
        return cls(ids, lengths)


class Store:
    """The sequences of one split: `len(store)`, `store.src(i)`, `store.tgt(i)`."""

    def __init__(self, folder: Path) -> None:
        """Opens a store without reading a sequence. Raises `CorpusError` if it is missing or cut short."""
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CorpusError(f"{folder}: there is no token store here") from None
        self.folder = folder
        self._length: int = meta["sequences"]
        self.vocabulary: int = meta["vocabulary"]
        self._ids = {side: _map(folder / f"{side}.ids", np.dtype(meta["ids"]), meta["tokens"][side]) for side in SIDES}
        self._offsets = {side: _map(folder / f"{side}.offsets", OFFSET, self._length + 1) for side in SIDES}
        self.documents: NDArray[np.int64] | None = None
        if meta["documents"] is not None:
            self.documents = _map(folder / "documents", OFFSET, meta["documents"] + 1)

    def __len__(self) -> int:
        return self._length

    @cached_property
    def src_lengths(self) -> NDArray[np.int64]:
        """Tokens of every source sequence, without EOS."""
        return np.diff(self._offsets["src"])

    @cached_property
    def tgt_lengths(self) -> NDArray[np.int64]:
        """Tokens of every target sequence, without EOS."""
        return np.diff(self._offsets["tgt"])

    def src(self, i: int) -> NDArray[np.integer]:
        """Returns the source ids of sequence i, [S], a view without BOS and EOS."""
        return self._sequence("src", i)

    def tgt(self, i: int) -> NDArray[np.integer]:
        """Returns the target ids of sequence i, [T], a view without BOS and EOS."""
        return self._sequence("tgt", i)

    def several(self, side: str, indices: NDArray[np.integer]) -> Sequences:
        """Returns the sequences `indices` of a side, `src` or `tgt`."""
        if len(indices) and not 0 <= indices.min() <= indices.max() < self._length:
            raise IndexError(f"{self.folder}: sequences {indices.min()} to {indices.max()} of {self._length}")
        offsets = np.asarray(self._offsets[side])
        ends = offsets[indices + 1]
        lengths = ends - offsets[indices]
        shifts = np.repeat(ends - np.cumsum(lengths), lengths)
        return Sequences(np.asarray(self._ids[side])[np.arange(len(shifts)) + shifts], lengths)

    def _sequence(self, side: str, i: int) -> NDArray[np.integer]:
        if not 0 <= i < self._length:
            raise IndexError(f"{self.folder}: sequence {i} of {self._length}")
        offsets = self._offsets[side]
        return self._ids[side][offsets[i] : offsets[i + 1]]


def _map(path: Path, dtype: np.dtype, count: int) -> NDArray:
    size = path.stat().st_size if path.is_file() else -1
    if size != count * dtype.itemsize:
        raise CorpusError(f"{path}: {size} bytes, expected {count * dtype.itemsize}; prepare the corpus again")
    return np.memmap(path, dtype=dtype, mode="r", shape=(count,)) if count else np.empty(0, dtype)


class StoreWriter:
    """Writes a store; it can be read once the `with` block ends without an error."""

    def __init__(self, folder: Path, vocabulary: int, documents: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.vocabulary = vocabulary
        self.tokens = dict.fromkeys(SIDES, 0)
        self.sequences = 0
        self._dtype = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")  # the narrower one that fits
        self._files: dict[str, BinaryIO] = {
            f"{side}.{kind}": (folder / f"{side}.{kind}").open("wb") for side in SIDES for kind in ("ids", "offsets")
        }
        self._starts: list[int] | None = [] if documents else None
        self._document: str | None = None  # the most recent one
        for side in SIDES:
            self._files[f"{side}.offsets"].write(np.zeros(1, OFFSET).tobytes())

    def add(self, src: Sequences, tgt: Sequences, documents: Iterable[str] | None = None) -> None:
        """Appends sequences; documents: the id of the document of each, for a corpus with documents."""
        for side, (ids, lengths) in zip(SIDES, (src, tgt), strict=True):
            offsets = self.tokens[side] + np.cumsum(lengths, dtype=OFFSET)
            self._files[f"{side}.ids"].write(ids.astype(self._dtype, copy=False).tobytes())
            self._files[f"{side}.offsets"].write(offsets.tobytes())
            self.tokens[side] += len(ids)
        if self._starts is not None:
            for number, document in enumerate(documents or (), start=self.sequences):
                if document != self._document:
                    self._starts.append(number)
                    self._document = document
        self.sequences += len(src.lengths)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        if kind is not None:
            return
        if self._starts is not None:
            np.array([*self._starts, self.sequences], OFFSET).tofile(self.folder / "documents")
        meta = {
            "sequences": self.sequences,
            "tokens": self.tokens,
            "documents": None if self._starts is None else len(self._starts),
            "vocabulary": self.vocabulary,
            "ids": self._dtype.str,
        }
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def length_distribution(lengths: NDArray[np.integer], limit: int | None = None) -> dict[str, Any]:
    """Returns mean, median, 90th percentile and maximum; with a limit L also the shares of lengths >= L/2 and > L."""
    if not len(lengths):
        return {"mean": None, "median": None, "p90": None, "max": None}
    result: dict[str, Any] = {
        "mean": round(float(lengths.sum()) / len(lengths), 2),
        "median": float(np.median(lengths)),
        "p90": round(float(np.percentile(lengths, 90)), 1),
        "max": int(lengths.max()),
    }
    if limit is not None:
        result["share_half"] = round(np.count_nonzero(2 * lengths >= limit) / len(lengths), 4)
        result["share_over"] = round(np.count_nonzero(lengths > limit) / len(lengths), 4)
    return result
