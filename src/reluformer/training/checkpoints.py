"""Checkpoints on disk: complete or absent, with checksums; old ones are removed.

checkpoints/DATASET/SYSTEM/seedN/
  train.log
  <identity>/                 one folder for each resolved configuration and corpus of the run
    run.json                  the configuration and corpus of the identity
    log.jsonl
    update-00001000/          state.json, *.safetensors, checksums.json
    update-00001234-interim/  saved on a signal or by the clock; never averaged into the final model
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from reluformer.files import sha256, sync, write_json
from reluformer.training.stopping import TrainingError

CHECKSUMS = "checksums.json"
NAME = re.compile(r"update-(\d{8,})(-interim)?")


class Checkpoint(NamedTuple):
    """One checkpoint on disk."""

    update: int
    interim: bool
    path: Path


class DamagedCheckpoint(Exception):
    """A file of a checkpoint is missing or changed."""


class Checkpoints:
    """The checkpoints in `folder`, of one run in one configuration; the last `keep` regular ones stay."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def all(self) -> list[Checkpoint]:
        """Returns every checkpoint, the oldest first."""
        matches = [(NAME.fullmatch(path.name), path) for path in self.folder.glob("update-*")]
        checkpoints = [Checkpoint(int(match[1]), match[2] is not None, path) for match, path in matches if match]
        return sorted(checkpoints, key=lambda checkpoint: (checkpoint.update, not checkpoint.interim))

    def partial(self, update: int, interim: bool) -> Path:
        """Returns the folder in which a checkpoint is written until `commit`."""
        return self.folder / f".update-{update:08d}{'-interim' if interim else ''}.partial"

    def begin(self, update: int, interim: bool) -> Path:
        """Creates the empty folder `partial`."""
        temporary = self.partial(update, interim)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def commit(self, temporary: Path) -> Path:
        """Turns `temporary` into a checkpoint and removes old ones."""
        files = sorted(path for path in temporary.iterdir() if path.name != CHECKSUMS)
        for path in files:
            sync(path)
        write_json(temporary / CHECKSUMS, {path.name: sha256(path) for path in files})
        sync(temporary)
        final = self.folder / temporary.name.removeprefix(".").removesuffix(".partial")
        if final.exists():  # damaged, or later than the checkpoint that the training resumed from
            shutil.rmtree(final)
        temporary.rename(final)
        sync(self.folder)
        self._prune()
        return final

    def newest(self, report: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest intact checkpoint; reports damaged ones and removes unfinished ones."""
        self.sweep()
        for checkpoint in reversed(self.all()):
            try:
                verify(checkpoint.path)
            except DamagedCheckpoint as damage:
                report(f"checkpoint of update {checkpoint.update} is damaged ({damage}): using the one before")
            else:
                return checkpoint
        return None

    def regular(self, before: int, count: int) -> list[Checkpoint]:
        """Returns the last `count` regular checkpoints before update `before`, the oldest first."""
        regular = [checkpoint for checkpoint in self.all() if not checkpoint.interim and checkpoint.update < before]
        return regular[len(regular) - count :] if count else []

    def sweep(self) -> None:
        """Removes checkpoints that a crash or a full disk left unfinished."""
        for unfinished in self.folder.glob(".update-*.partial"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _prune(self) -> None:
        *earlier, _ = self.all()
        regular = [checkpoint for checkpoint in self.all() if not checkpoint.interim]
        for checkpoint in earlier:
            if checkpoint not in regular[-self.keep :]:
                shutil.rmtree(checkpoint.path, ignore_errors=True)


def verify(path: Path) -> None:
    """Raises `DamagedCheckpoint` unless every file has its checksum."""
    try:
        checksums = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        for name, checksum in checksums.items():
            if sha256(path / name) != checksum:
                raise DamagedCheckpoint(f"{name} has another checksum")
    except FileNotFoundError as missing:
        raise DamagedCheckpoint(f"{Path(missing.filename).name} is missing") from None
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedCheckpoint(str(error)) from None


def identity(run: dict[str, Any], data: dict[str, str]) -> str:
    """Returns a short name for a resolved configuration and its corpus."""
    return hashlib.sha256(json.dumps([run, data], sort_keys=True).encode()).hexdigest()[:12]


def open_folder(folder: Path, run: dict[str, Any], data: dict[str, str], report: Callable[[str], None]) -> Path:
    """Creates the folder of this configuration and corpus below `folder`; reports which others it ignores, and why."""
    own = folder / identity(run, data)
    if not own.is_dir():
        for other in sorted(folder.glob("*/run.json")):
            old = json.loads(other.read_text(encoding="utf-8"))
            changes = differences({**old["run"], "corpus": old["data"]}, {**run, "corpus": data})
            report(f"ignoring the checkpoints in {other.parent}, of another configuration ({'; '.join(changes)})")
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "run.json").is_file():
        write_json(own / "run.json", {"run": run, "data": data})
    return own


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Returns the changes between two nested mappings, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for name in sorted(old.keys() | new.keys()):
            changes += differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return changes
    return [] if old == new else [f"{key}: {old!r} -> {new!r}"]


def write_error(error: OSError, folder: Path, last: Checkpoint | None) -> TrainingError:
    """Returns the error of a checkpoint that could not be written, as one line."""
    resume = f"the last good checkpoint is of update {last.update}" if last else "there is no earlier checkpoint"
    reason = "no space left on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
    return TrainingError(f"{folder}: the checkpoint could not be written: {reason}; {resume}")
