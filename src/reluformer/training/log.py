"""What a training says: JSON lines for machines, plain lines in a file, a progress bar on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from reluformer.files import sync, write_text


class RunLog:
    """The log of one run; only the first process has one that writes.

    Args:
        folder: where log.jsonl is; train.log is beside it, and stays when the checkpoints go.
        updates: the last update, for the time that is left.
        active: whether this process writes.
    """

    def __init__(self, folder: Path, updates: int, active: bool) -> None:
        self.lines = folder / "log.jsonl"
        self.plain = folder.parent / "train.log"
        self.updates = updates
        self.active = active
        self._bar: Any = None
        self._task: Any = None
        self._bar_time = 0.0

    def rewind(self, update: int) -> None:
        """Drops every event after `update`, and a last line that a crash cut off."""
        if not self.active:
            return
        kept = []
        for line in self.lines.read_text(encoding="utf-8").splitlines() if self.lines.is_file() else []:
            try:
                if json.loads(line)["update"] <= update:
                    kept.append(line + "\n")
            except json.JSONDecodeError:
                break
        write_text(self.lines, "".join(kept))

    def event(self, **fields: Any) -> None:
        """One line of log.jsonl; a number that is not finite is written as null."""
        if not self.active:
            return
        clean = {key: _finite(value) for key, value in fields.items()}
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")
        self.message(" ".join(_short(key, value) for key, value in fields.items()))

    def message(self, text: str) -> None:
        """One plain line, in train.log and on stderr."""
        if not self.active:
            return
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        with self.plain.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def progress(self, update: int, loss: float, rate: float, speed: float) -> None:
        """Moves the bar, where there is a terminal: loss in nats a token, learning rate, target tokens a second."""
        if not self.active or not sys.stderr.isatty() or time.monotonic() < self._bar_time + 0.1:
            return
        self._bar_time = time.monotonic()
        if self._bar is None:
            self._open_bar(update)
        self._bar.update(self._task, completed=update, loss=loss, rate=rate, speed=speed)

    def sync(self) -> None:
        """Waits until the lines so far are on the disk."""
        if self.active and self.lines.is_file():
            sync(self.lines)

    def close(self) -> None:
        """Takes the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open_bar(self, update: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  lr {task.fields[rate]:.2e}  {task.fields[speed]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("train", total=self.updates, completed=update, loss=0.0, rate=0.0, speed=0.0)
        self._bar.start()


def _finite(value: Any) -> Any:
    return value if not isinstance(value, float) or value - value == 0 else None


def _short(key: str, value: Any) -> str:
    if key == "event":
        return str(value)
    return f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"


def warn_of(text: str) -> None:
    """A line on stderr from the first process, before there is a log."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
