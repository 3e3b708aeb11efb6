"""What a corpus is, in numbers: counts at every step, length distributions; and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reluformer.config.dataset import ArchiveConfig
from reluformer.files import sha256


class Lengths:
    """How many sequences have which length, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(1, np.int64)

    def add(self, lengths: Sequence[int] | NDArray[np.integer]) -> None:
        """Counts more sequences."""
        if len(lengths):
            counts = np.bincount(lengths)
            if len(counts) > len(self._counts):
                self._counts = np.pad(self._counts, (0, len(counts) - len(self._counts)))
            self._counts[: len(counts)] += counts

    def distribution(self, limit: int | None = None) -> dict[str, Any]:
        """Mean, median, 90th percentile and maximum; with a limit L also the share of at least L/2 and of over L."""
        total = int(self._counts.sum())
        if not total:
            return {"mean": None, "median": None, "p90": None, "max": None}
        values = np.arange(len(self._counts))
        found: dict[str, Any] = {
            "mean": round(float(values @ self._counts) / total, 2),
            "median": self._percentile(50),
            "p90": round(self._percentile(90), 1),
            "max": int(np.flatnonzero(self._counts)[-1]),
        }
        if limit is not None:
            found["share_half"] = round(float(self._counts[2 * values >= limit].sum()) / total, 4)
            found["share_over"] = round(float(self._counts[values > limit].sum()) / total, 4)
        return found

    def _percentile(self, q: float) -> float:
        """As numpy's percentile of the lengths themselves, between two of them by linear interpolation."""
        ends = np.cumsum(self._counts)
        place = (int(ends[-1]) - 1) * q / 100
        low, high = np.searchsorted(ends, (np.floor(place), np.ceil(place)), side="right")
        return float(low + (place - np.floor(place)) * (high - low))


def length_distribution(lengths: Sequence[int] | NDArray[np.integer], limit: int | None = None) -> dict[str, Any]:
    """`Lengths.distribution` of lengths that are at hand."""
    counted = Lengths()
    counted.add(lengths)
    return counted.distribution(limit)


def sources(archives: Sequence[tuple[ArchiveConfig, Path]]) -> list[dict[str, Any]]:
    """Each archive: its published name, where it is published, its checksum and size."""
    return [
        {
            "name": archive.name,
            "published": archive.pip or archive.urls,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
        }
        for archive, path in archives
    ]


def versions() -> dict[str, str]:
    """The packages that decide what the prepared text is."""
    return {name: version(name) for name in ("sacremoses", "sentencepiece", "numpy")}
