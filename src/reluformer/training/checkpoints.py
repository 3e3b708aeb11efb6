"""Checkpoints on the disk: written whole or not at all, with checksums, the last ones kept.

checkpoints/DATASET/SYSTEM/seedN/
  trainer.lock  train.log
  <identity>/                 one folder for each resolved configuration and corpus of the run
    run.json                  what the identity stands for
    log.jsonl
    update-00001000/          state.json, *.safetensors, checksums.json
    update-00001234-interim/  saved on a signal or a clock; never averaged into the final model
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

from reluformer.files import sync, write_json
from reluformer.training.errors import TrainingError

CHECKSUMS = "checksums.json"
NAME = re.compile(r"update-(\d{8,})(-interim)?")


class Checkpoint(NamedTuple):
    """One checkpoint on the disk."""

    update: int
    interim: bool
    path: Path


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not what was written."""


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of one run in one configuration.

    Args:
        folder: the folder of this identity.
        keep: how many of the regular checkpoints are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def all(self) -> list[Checkpoint]:
        """Every checkpoint, the oldest first."""
        found = []
        for path in self.folder.glob("update-*"):
            if match := NAME.fullmatch(path.name):
                found.append(Checkpoint(int(match[1]), match[2] is not None, path))
        return sorted(found, key=lambda checkpoint: (checkpoint.update, not checkpoint.interim))

    def partial(self, update: int, interim: bool) -> Path:
        """Where a checkpoint's files are written before they become one."""
        return self.folder / f".update-{update:08d}{'-interim' if interim else ''}.partial"

    def begin(self, update: int, interim: bool) -> Path:
        """Makes `partial` an empty folder; it becomes a checkpoint by `commit`."""
        temporary = self.partial(update, interim)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def commit(self, temporary: Path) -> Path:
        """Makes the files in `temporary` a checkpoint and removes those that are no longer kept."""
        files = sorted(path for path in temporary.iterdir() if path.name != CHECKSUMS)
        for path in files:
            sync(path)
        write_json(temporary / CHECKSUMS, {path.name: fingerprint(path) for path in files})
        sync(temporary)
        final = self.folder / temporary.name.removeprefix(".").removesuffix(".partial")
        if final.exists():  # a damaged one, or one of a training that went on from an earlier one
            shutil.rmtree(final)
        temporary.rename(final)
        sync(self.folder)
        self._prune()
        return final

    def newest(self, report: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are reported and passed over, unfinished ones removed."""
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
        """The last `count` regular checkpoints of updates before `before`, the oldest first."""
        regular = [checkpoint for checkpoint in self.all() if not checkpoint.interim and checkpoint.update < before]
        return regular[len(regular) - count :] if count else []

    def remove(self) -> None:
        """Removes all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a crash or a full disk left of checkpoints that were being written."""
        for unfinished in self.folder.glob(".update-*.partial"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _prune(self) -> None:
        everything = self.all()
        regular = [checkpoint for checkpoint in everything if not checkpoint.interim]
        kept = {checkpoint.path for checkpoint in [*regular[-self.keep :], everything[-1]]}
        for checkpoint in everything:
            if checkpoint.path not in kept:
                shutil.rmtree(checkpoint.path, ignore_errors=True)


def verify(path: Path) -> None:
    """Raises `DamagedCheckpoint` unless every file of a checkpoint is what was written."""
    try:
        checksums = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        for name, checksum in checksums.items():
            if fingerprint(path / name) != checksum:
                raise DamagedCheckpoint(f"{name} is not what was written")
    except FileNotFoundError as missing:
        raise DamagedCheckpoint(f"{Path(missing.filename).name} is missing") from None
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedCheckpoint(str(error)) from None


def identity(run: dict[str, Any], data: dict[str, str]) -> str:
    """A short name for a resolved configuration and its corpus."""
    return hashlib.sha256(json.dumps([run, data], sort_keys=True).encode()).hexdigest()[:12]


def open_folder(folder: Path, run: dict[str, Any], data: dict[str, str], report: Callable[[str], None]) -> Path:
    """The folder of this configuration and corpus under `folder`; says which others it passes over, and why."""
    own = folder / identity(run, data)
    if not own.is_dir():
        for other in sorted(folder.glob("*/run.json")):
            found = json.loads(other.read_text(encoding="utf-8"))
            changes = differences({**found["run"], "corpus": found["data"]}, {**run, "corpus": data})
            report(f"ignoring the checkpoints in {other.parent}: they are of another run ({'; '.join(changes)})")
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "run.json").is_file():
        write_json(own / "run.json", {"run": run, "data": data})
    return own


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """What changed between two nested mappings, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for name in sorted(old.keys() | new.keys()):
            changes += differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return changes
    return [] if old == new else [f"{key}: {old!r} -> {new!r}"]


def no_space(error: OSError, folder: Path, last: Checkpoint | None) -> TrainingError:
    """The error of a write that failed, in a sentence."""
    kept = f"the last good checkpoint is of update {last.update}" if last else "there is no earlier checkpoint"
    why = "no space left on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
    return TrainingError(f"{folder}: the checkpoint could not be written: {why}; {kept}")
