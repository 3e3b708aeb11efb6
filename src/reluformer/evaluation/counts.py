"""counts.npz: what each metric counts in each segment of a translation, without its text.

All of scores.json and the paired tests are computed from it, so a run is rescored without its corpus. Dependent columns
are stored as differences, which compress to a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reluformer.files import replace

BLEU_COLUMNS, CHRF_COLUMNS = 10, 18
COMPACT = "compact"
"""The array whose presence marks counts stored as differences."""


def write_counts(path: Path, counts: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays of integers as a compressed npz; BLEU's and chrF's counts [segments, 10 or 18] as differences.

    Without arrays (a diverged run) the file is empty.
    """
    arrays = {name: _smallest(_differences(rows)) for name, rows in counts.items()}
    if arrays:
        arrays[COMPACT] = np.array(1, np.uint8)
    replace(path, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **arrays))


def read_counts(path: Path) -> dict[str, NDArray[np.float64]]:
    """Reads what `write_counts` wrote, and files of counts without differences."""
    with np.load(path, allow_pickle=False) as arrays:
        compact = COMPACT in arrays.files
        names = [name for name in arrays.files if name != COMPACT]
        counts = {name: arrays[name].astype(np.float64) for name in names}
    return {name: _sums(rows) for name, rows in counts.items()} if compact else counts


def _parts(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Views of BLEU's or chrF's columns: matched and written n-grams by order, and what is left; None of other rows."""
    if rows.ndim == 2 and rows.shape[1] == BLEU_COLUMNS:  # lengths of both sides, matches, the hypothesis's n-grams
        return rows[:, 2:6], rows[:, 6:10], rows[:, 0:2]
    if rows.ndim == 2 and rows.shape[1] == CHRF_COLUMNS:  # for each order: the hypothesis's, the reference's, matches
        return rows[:, 2::3], rows[:, 0::3], rows[:, 1::3]
    return None


def _differences(rows: NDArray[Any]) -> NDArray[Any]:
    """Stores each order as the difference from the order before: n-grams, and those that the reference lacks.

    Unigrams are stored as the difference from the first of the other columns, a length of the same segment.
    """
    changed = np.array(rows, dtype=np.int64)
    if (parts := _parts(changed)) is not None:
        matched, written, left = parts
        matched[:] = np.diff(written - matched, axis=1, prepend=0)
        written[:] = np.diff(written, axis=1, prepend=left[:, :1])
        left[:] = np.diff(left, axis=1, prepend=0)
    return changed


def _sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `_differences`."""
    if (parts := _parts(rows)) is not None:
        matched, written, left = parts
        left[:] = np.cumsum(left, axis=1)
        written[:] = np.cumsum(written, axis=1) + left[:, :1]
        matched[:] = written - np.cumsum(matched, axis=1)
    return rows


def _smallest(rows: NDArray[np.int64]) -> NDArray[Any]:
    """Returns the numbers in the smallest dtype that holds them, in column order, which compresses better."""
    low, high = (int(rows.min()), int(rows.max())) if rows.size else (0, 0)
    return np.asfortranarray(rows.astype(np.min_scalar_type(min(low, -high - 1) if low < 0 else high)))
