"""The trainings that go on now, from the logs beside their checkpoints; on any node that shares the disk."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

QUIET_SECONDS = 180.0
"""A training that has said nothing for so long (or for three of its log lines' distances) is not going on."""


class Training(NamedTuple):
    """One training. loss: nats a token; left: seconds until its last update, about; quiet: seconds without a word."""

    run: str
    update: int
    updates: int
    loss: float | None
    tokens_per_second: float | None
    left: float | None
    quiet: float
    goes_on: bool


def trainings(checkpoints: Path, now: float | None = None) -> list[Training]:
    """Every training that has begun and not ended: one that ended has no checkpoints any more."""
    now = time.time() if now is None else now
    newest: dict[Path, Path] = {}
    for path in checkpoints.glob("*/*/seed*/*/run.json"):
        before = newest.get(path.parent.parent)
        if before is None or path.stat().st_mtime > before.stat().st_mtime:
            newest[path.parent.parent] = path
    found = [read(folder, told, checkpoints, now) for folder, told in sorted(newest.items())]
    return [training for training in found if training is not None]


def read(folder: Path, told: Path, checkpoints: Path, now: float) -> Training | None:
    """One training, from its folder and its run.json; None while these are being written or removed."""
    try:
        updates = int(json.loads(told.read_text(encoding="utf-8"))["run"]["training"]["updates"])
        files = [path for path in (folder / "train.log", told.parent / "log.jsonl", told) if path.is_file()]
        quiet = max(0.0, now - max(path.stat().st_mtime for path in files))
        events = train_events(told.parent / "log.jsonl")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    last: dict[str, Any] = events[-1] if events else {}
    before = events[-2] if len(events) > 1 else {"update": 0, "seconds": 0.0}
    left, pace = None, 0.0
    if last and last["update"] > before["update"]:
        pace = (last["seconds"] - before["seconds"]) / (last["update"] - before["update"])
        left = pace * (updates - last["update"])
    distance = pace * (last["update"] - before["update"]) if last else 0.0
    return Training(
        folder.relative_to(checkpoints).as_posix(),
        last.get("update", 0),
        updates,
        last.get("loss"),
        last.get("tokens_per_second"),
        left,
        quiet,
        quiet < max(QUIET_SECONDS, 3 * distance),
    )


def train_events(path: Path, tail: int = 1 << 14) -> list[dict[str, Any]]:
    """The last train events of a log.jsonl, of which the end is read; a line that is not whole yet is left out."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - tail))
        lines = file.read().split(b"\n")
    events = []
    for line in lines[1 if size > tail else 0 : -1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("event") == "train":
            events.append(event)
    return events
