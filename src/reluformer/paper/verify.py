"""Checks an archive of results: every file against the manifest, every score against its hypotheses."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from reluformer.config.evaluation import PLAIN, Tokenizer
from reluformer.config.run import split_dataset
from reluformer.config.settings import SettingsError, read_json
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
        faults = [*_check_whole(path), *_check_bytes(archive, listed)]
        if faults:
            return Verified(faults, len(listed), 0, 0)
        archive.extractall(temporary)
        results = Path(temporary) / "results"
        runs = sorted(results.glob("runs/*/*/seed*/scores.json"))
        runs = [path.parent for path in runs if all((path.parent / file).is_file() for file in SCORED)]
        scored = 0
        for run in runs:
            stored = read_json(run / "scores.json") or {}
            if _score(run, results / "corpora", corpora, stored.get("tokenizer", PLAIN)):
                scored += 1
                name = (run / "scores.json").relative_to(temporary).as_posix()
                faults += [f"{name}: {one}" for one in changes(stored, read_json(run / "scores.json"))]
        return Verified(faults, len(listed), scored, len(runs) - scored)


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


def _check_bytes(archive: zipfile.ZipFile, listed: dict[str, str]) -> list[str]:
    names = Counter(archive.namelist())
    faults = [f"{name}: in the archive twice" for name, number in names.items() if number > 1]
    faults += [f"{name}: not in the manifest" for name in sorted(names.keys() - {*listed, MANIFEST})]
    for name, checksum in listed.items():
        wrong = _fault(archive, name, checksum) if name in names else "missing"
        faults += [f"{name}: {wrong}"] if wrong else []
    return faults


def _fault(archive: zipfile.ZipFile, name: str, checksum: str) -> str | None:
    try:
        with archive.open(name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except Exception as error:
        return f"cannot be read: {error}"
    return None if digest == checksum else "other bytes than the manifest's"


def _score(run: Path, packed: Path, corpora: Path | None, tokenizer: Tokenizer) -> bool:
    """Scores a run from its hypotheses; returns whether its test text is among the packed corpora or in `corpora`."""
    raw = Path(split_dataset(run.parts[-3])[0], "raw")
    folder = next((one for one in (packed, corpora) if one is not None and (one / raw).is_dir()), packed)
    if not (folder / raw).is_dir() and (read_json(run / "translation.json") or {})["status"] != "diverged":
        return False
    score_run(run, folder, tokenizer)
    return True


def changes(stored: Any, computed: Any, place: str = "the archive") -> list[str]:
    """Returns where two contents differ beyond rounding: `metrics.bleu.score: 31 in the archive, computed 30.5`."""
    rows = unequal(stored, computed, tolerance=TOLERANCE)
    return [f"{key}: {one!r} in {place}, computed {other!r}" for key, one, other in rows]
