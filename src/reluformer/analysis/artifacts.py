"""Writing the files of an analysis: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` as JSON. A NaN or an infinity in it is a `ValueError`: JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    _replace(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Writes named arrays as a compressed npz."""
    _replace(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
        os.replace(part, path)  # noqa: PTH105
    finally:
        part.unlink(missing_ok=True)
