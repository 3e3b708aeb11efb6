"""What a corpus is, in numbers: counts at every step, length distributions; and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reluformer.corpus.config import ArchiveConfig


def length_distribution(lengths: Sequence[int] | NDArray[np.integer], limit: int | None = None) -> dict[str, Any]:
    """Mean, median, 90th percentile and maximum; with a limit L also the share of at least L/2 and of over L."""
    if not len(lengths):
        return {"mean": None, "median": None, "p90": None, "max": None}
    values = np.asarray(lengths)
    found: dict[str, Any] = {
        "mean": round(float(values.mean()), 2),
        "median": float(np.median(values)),
        "p90": float(np.percentile(values, 90)),
        "max": int(values.max()),
    }
    if limit is not None:
        found["share_half"] = round(float((2 * values >= limit).mean()), 4)
        found["share_over"] = round(float((values > limit).mean()), 4)
    return found


def sha256(path: Path) -> str:
    """The checksum of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def write_json(path: Path, data: Any) -> None:
    """Writes JSON through a temporary name, so that the file is whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
