"""The log of a training run: JSON lines for programs, plain lines in a file, a progress bar on a terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reluformer.files import sync, write_text


class RunLog:
    """The log of one run, written by the first process only (`active`).

    log.jsonl is in `folder`; train.log is next to the folder and stays when the checkpoints are removed.
    """

    def __init__(self, folder: Path, updates: int, active: bool) -> None:
        self.lines = folder / "log.jsonl"
        self.plain = folder.parent / "train.log"
        self.updates = updates
        self.active = active
        self._bar: Progress | None = None

    def rewind(self, update: int) -> None:
        """Drops the events after `update`, and a last line truncated by a crash."""
        if not self.active:
            return
        earlier = []
        for line in self.lines.read_text(encoding="utf-8").splitlines() if self.lines.is_file() else []:
            try:
                if json.loads(line)["update"] <= update:
                    earlier.append(line + "\n")
            except json.JSONDecodeError:
                break
        write_text(self.lines, "".join(earlier))

    def event(self, **fields: Any) -> None:
        """Appends a line to log.jsonl, with NaN and infinity as null, and logs it as a `message`."""
        if not self.active:
            return
        clean = {key: finite(value) for key, value in fields.items()}
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")
        self.message(" ".join(_describe(key, value) for key, value in fields.items()))

    def message(self, text: str) -> None:
        """Writes one line to train.log and stderr."""
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
        """Updates the progress bar on a terminal: loss in nats per token, learning rate, target tokens per second."""
        if not self.active or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _progress_bar()
            self._bar.add_task("train", total=self.updates, completed=update, loss=loss, rate=rate, speed=speed)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=update, loss=loss, rate=rate, speed=speed)

    def sync(self) -> None:
        """Flushes log.jsonl to disk."""
        if self.active and self.lines.is_file():
            sync(self.lines)

    def close(self) -> None:
        """Removes the progress bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _progress_bar() -> Progress:
    text = "loss {task.fields[loss]:.3f}  lr {task.fields[rate]:.2e}  {task.fields[speed]:,.0f} tokens/s"
    columns = (MofNCompleteColumn(), BarColumn(), TextColumn(text), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def finite(value: Any) -> Any:
    """Returns None for NaN and infinity, and any other value unchanged."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _describe(key: str, value: Any) -> str:
    if key == "event":
        return str(value)
    return f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"


def warn(text: str) -> None:
    """Prints a line to stderr from the first process, before there is a `RunLog`."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
