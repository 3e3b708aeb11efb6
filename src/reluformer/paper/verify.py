"""Checks an archive of results: every file against the manifest, every score against its hypotheses."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from reluformer.config.evaluation import PLAIN
from reluformer.config.run import split_dataset
from reluformer.config.settings import SettingsError
from reluformer.evaluation.score import score_run
from reluformer.files import sha256
from reluformer.paper.archive import MANIFEST, checksum_file
from reluformer.paper.record import unequal

SCORED = ("config.yaml", "hypotheses.jsonl", "translation.json")
TOLERANCE = 1e-6
"""Relative difference up to which two numbers count as equal."""


class Verified(NamedTuple):
    """The faults of an archive, and the numbers of files checked, of runs scored anew and of runs that were not."""

    faults: list[str]
    files: int
    scored: int
    unscored: int


def verify_archive(path: Path, corpora: Path | None = None) -> Verified:
    """Checks the archive at `path`.

    Args:
        path: a zip file of `pack_archive`.
        corpora: prepared corpora, for test text that is not in the archive.

    Raises:
        SettingsError: if there is no such file, or it is no archive of results.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise SettingsError(f"{path}: not a zip file, or a broken one: {error}") from None
    with archive, tempfile.TemporaryDirectory(prefix="reluformer-verify-") as temporary:
        listed = _manifest(archive, path)
        faults, sound = _check_bytes(archive, listed)
        faults = [*_check_whole(path), *faults]
        if faults:
            return Verified(faults, len(listed), 0, 0)
        archive.extractall(temporary)
        folder = Path(temporary) / "results"
        scored, unscored = 0, 0
        for run in _scored_runs(sound):
            scores = _score(folder, run, corpora)
            if scores is None:
                unscored += 1
                continue
            scored += 1
            faults += [f"results/runs/{run}/scores.json: {one}" for one in changes(*scores)]
        return Verified(faults, len(listed), scored, unscored)


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """The checksum of each file by its name. Raises `SettingsError`."""
    try:
        lines = archive.read(MANIFEST).decode().splitlines()
        return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    except KeyError:
        raise SettingsError(f"{path}: no archive of results: it has no {MANIFEST}") from None
    except Exception as error:  # a damaged stream raises almost anything
        raise SettingsError(f"{path}: {MANIFEST}: damaged: {error}") from None


def _check_whole(path: Path) -> list[str]:
    """A fault if the archive does not match the checksum file beside it; without such a file there is none."""
    beside = checksum_file(path)
    if not beside.is_file() or beside.read_text(encoding="utf-8").split(" ")[0] == sha256(path):
        return []
    return [f"{path.name}: other bytes than {beside.name} says"]


def _check_bytes(archive: zipfile.ZipFile, listed: dict[str, str]) -> tuple[list[str], set[str]]:
    """The faults of files, and the names of the sound ones."""
    faults, sound = [], set()
    names = archive.namelist()
    faults += [f"{name}: in the archive twice" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f"{name}: not in the manifest" for name in sorted(set(names) - {*listed, MANIFEST})]
    for name, checksum in listed.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            faults.append(f"{name}: leads out of the archive")
        elif name not in names:
            faults.append(f"{name}: missing")
        elif (wrong := _fault(archive, name, checksum)) is not None:
            faults.append(f"{name}: {wrong}")
        else:
            sound.add(name)
    return faults, sound


def _fault(archive: zipfile.ZipFile, name: str, checksum: str) -> str | None:
    try:
        with archive.open(name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except Exception as error:
        return f"cannot be read: {error}"
    return None if digest == checksum else "other bytes than the manifest's"


def _scored_runs(names: set[str]) -> Iterator[str]:
    """The runs with scores and the files that they are computed from, as DATASET/SYSTEM/seedN."""
    for name in sorted(names):
        parts = PurePosixPath(name).parts
        if parts[:2] == ("results", "runs") and parts[-1] == "scores.json":
            run = "/".join(parts[2:-1])
            if {f"results/runs/{run}/{file}" for file in SCORED} <= names:
                yield run


def _score(results: Path, run: str, corpora: Path | None) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A run's stored scores, and the same computed from its hypotheses; None without the test text."""
    base, source = split_dataset(run.split("/", 1)[0])[0], results / "corpora"
    folder = results / "runs" / run
    diverged = json.loads((folder / "translation.json").read_text(encoding="utf-8"))["status"] == "diverged"
    if not diverged and not (source / base / "raw").is_dir():
        if corpora is None or not (corpora / base / "raw").is_dir():
            return None
        source = corpora
    stored = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    score_run(folder, source, stored.get("tokenizer", PLAIN))
    return stored, json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def changes(stored: Any, computed: Any, place: str = "the archive") -> list[str]:
    """Returns where two contents differ beyond rounding: `metrics.bleu.score: 31 in the archive, computed 30.5`."""
    rows = unequal(stored, computed, tolerance=TOLERANCE)
    return [f"{key}: {one!r} in {place}, computed {other!r}" for key, one, other in rows]
