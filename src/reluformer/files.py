"""Writing files so that a reader sees the old one or the whole new one, also after a crash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, of the same suffix, then renames; makes the folder.

    The file is readable for whom the umask allows: safetensors would make it readable for its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """UTF-8 with the line ends of `text`, whole or not at all."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def write_json(path: Path, data: Any) -> None:
    """`data` as JSON, whole or not at all. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_by_content(folder: Path, data: Any, write: bool = True) -> Path:
    """Writes `data` as JSON into a file that is named by its content; without `write`, only returns the path."""
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if write and not path.is_file():
        write_text(path, text)
    return path
