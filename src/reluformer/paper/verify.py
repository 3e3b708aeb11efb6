"""Checks an archive of results: every byte against its manifest, and every score against its hypotheses."""

from __future__ import annotations

import hashlib
import json
import math
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

SCORED = ("config.yaml", "hypotheses.jsonl", "translation.json")
TOLERANCE = 1e-6
"""Relative difference of a number that counts as none."""


class Verified(NamedTuple):
    """What was found: faults (none where the archive is sound), files checked, runs scored anew, runs that were not."""

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
        SettingsError: where there is no such file, or it is no archive of results.
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
            found = _score(folder, run, corpora)
            if found is None:
                unscored += 1
                continue
            scored += 1
            kept = json.loads((folder / "runs" / run / "scores.json").read_text(encoding="utf-8"))
            faults += [f"results/runs/{run}/scores.json: {one}" for one in differences(kept, found)]
        return Verified(faults, len(listed), scored, unscored)


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """The checksum of each file by its name. Raises `SettingsError`."""
    try:
        lines = archive.read(MANIFEST).decode().splitlines()
        return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    except KeyError:
        raise SettingsError(f"{path}: no archive of results: it has no {MANIFEST}") from None
    except Exception as error:  # whatever a damaged stream makes of itself
        raise SettingsError(f"{path}: {MANIFEST}: damaged: {error}") from None


def _check_whole(path: Path) -> list[str]:
    """A fault where the archive is not what the checksum beside it says; none where there is no checksum."""
    beside = checksum_file(path)
    if not beside.is_file() or beside.read_text(encoding="utf-8").split(" ")[0] == sha256(path):
        return []
    return [f"{path.name}: other bytes than {beside.name} says"]


def _check_bytes(archive: zipfile.ZipFile, listed: dict[str, str]) -> tuple[list[str], set[str]]:
    """Faults of files, and the names of the sound ones."""
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
    """The runs with scores and what they were computed from, as DATASET/SYSTEM/seedN."""
    for name in sorted(names):
        parts = PurePosixPath(name).parts
        if parts[:2] == ("results", "runs") and parts[-1] == "scores.json":
            run = "/".join(parts[2:-1])
            if {f"results/runs/{run}/{file}" for file in SCORED} <= names:
                yield run


def _score(results: Path, run: str, corpora: Path | None) -> dict[str, Any] | None:
    """The scores of a run computed anew; None where the test text is nowhere."""
    base = split_dataset(run.split("/", 1)[0])[0]
    inside = results / "corpora"
    source = inside if (inside / base / "raw").is_dir() else corpora
    translation = json.loads((results / "runs" / run / "translation.json").read_text(encoding="utf-8"))
    if translation["status"] == "diverged":
        source = inside
    if source is None or not (translation["status"] == "diverged" or (source / base / "raw").is_dir()):
        return None
    with tempfile.TemporaryDirectory(prefix="reluformer-score-") as name:
        folder = Path(name)
        for file in SCORED:
            (folder / file).write_bytes((results / "runs" / run / file).read_bytes())
        kept = json.loads((results / "runs" / run / "scores.json").read_text(encoding="utf-8"))
        score_run(folder, source, kept.get("tokenizer", PLAIN))
        found: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        return found


def differences(kept: Any, found: Any, where: str = "", place: str = "the archive") -> Iterator[str]:
    """Where two contents differ, numbers up to rounding: `metrics.bleu.score: 31 in the archive, computed 30.5`."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for key in {**kept, **found}:
            yield from differences(kept.get(key), found.get(key), f"{where}.{key}" if where else str(key), place)
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from differences(one, other, f"{where}[{index}]", place)
    elif isinstance(kept, int | float) and isinstance(found, int | float):
        if not math.isclose(kept, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{where}: {kept} in {place}, computed {found}"
    elif kept != found:
        yield f"{where}: {kept!r} in {place}, computed {found!r}"
