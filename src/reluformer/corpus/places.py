"""Where fetched archives lie below `resources/`, and what makes them, and the text made from them, stale.

An archive whose checksum the configuration gives is `resources/NAME`: nothing but that content is ever under the name,
so corpora share it. Any other lies in its dataset's folder, `resources/DATASET/NAME`: two corpora may each have a
`train.de`. Beside it stands `NAME.sha256`, what was fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reluformer.config.dataset import ArchiveConfig, DatasetConfig
from reluformer.corpus.errors import CorpusError
from reluformer.files import find_files, sha256, write_text

LOCAL = "# from a folder of archives"
"""A line in NAME.sha256 that `sha256sum --check` skips."""


class Fetched(NamedTuple):
    """An archive and the dataset that it is fetched for."""

    dataset: str
    archive: ArchiveConfig


def archive_places(datasets: Mapping[str, DatasetConfig]) -> dict[str, Fetched]:
    """Every archive by its path below `resources/`."""
    every = [Fetched(name, archive) for name, dataset in datasets.items() for archive in dataset.corpus.archives]
    sums: dict[str, set[str | None]] = {}
    for _, archive in every:
        sums.setdefault(archive.name.casefold(), set()).add(archive.sha256)
    places: dict[str, Fetched] = {}
    for one in every:
        name = one.archive.name
        shared = one.archive.sha256 is not None and len(sums[name.casefold()]) == 1 and name not in datasets
        places.setdefault(name if shared else f"{one.dataset}/{name}", one)
    return places


def places_of(dataset: str, places: Mapping[str, Fetched], archives: Iterable[ArchiveConfig]) -> list[str]:
    """The paths below `resources/` of a dataset's archives, in their order."""
    own = (f"{dataset}/{archive.name}" for archive in archives)
    return [path if path in places else path.partition("/")[2] for path in own]


def sole_places(places: Iterable[str]) -> dict[str, str]:
    """The places in datasets' folders by the name of their archive, where only one dataset has an archive of it."""
    names: dict[str, list[str]] = {}
    for place in places:
        names.setdefault(place.rpartition("/")[2], []).append(place)
    return {name: found[0] for name, found in names.items() if len(found) == 1 and "/" in found[0]}


class Record(NamedTuple):
    """What NAME.sha256 says: the checksum of what was fetched, and whether it came from a folder of archives."""

    sha256: str
    local: bool


def record_of(target: Path) -> Record | None:
    """The record of a fetched file; None if there is none."""
    path = _record_file(target)
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    return Record(text.split()[0], LOCAL in text) if text.strip() else None


def write_record(target: Path, local: bool) -> None:
    """Writes NAME.sha256 in the format of sha256sum."""
    comment = f"{LOCAL}\n" if local else ""
    write_text(_record_file(target), f"{sha256(target)}  {target.name}\n{comment}")


def _record_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def find_archive(folder: Path, archive: ArchiveConfig, dataset: str) -> Path | None:
    """The archive's file by its published name, anywhere under `folder`.

    Of several, the one with the checksum of the configuration, or the one in a folder that is called as the dataset.
    Raises `CorpusError` if several different files could be meant.
    """
    if not folder.is_dir():
        raise CorpusError(f"archives: {folder}: there is no such folder")
    found = find_files(folder, archive.name)
    if len(found) < 2:
        return found[0] if found else None
    sums = {path: sha256(path) for path in found}
    right = [path for path in found if sums[path] == archive.sha256]
    own = right or [path for path in found if dataset in path.relative_to(folder).parts[:-1]] or found
    if len({sums[path] for path in own}) > 1:
        listed = ", ".join(map(str, own))
        raise CorpusError(
            f"archives: {folder}: several different files are called {archive.name}: {listed}; "
            f"put that of this dataset into a folder called {dataset}"
        )
    return own[0]


class Checksums:
    """SHA-256 of files, remembered in `file` as long as a file's size, times and inode stay the same."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._known: dict[str, list[object]] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def __call__(self, path: Path) -> str:
        """The checksum of a file."""
        key, stat = str(path.resolve()), path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(key)
        if known is None or known[:-1] != state:
            self._known[key] = known = [*state, sha256(path)]
            with suppress(OSError):  # nothing is lost but time
                write_text(self._file, json.dumps(self._known))
        return str(known[-1])


def fetched_state(one: Fetched, target: Path, archives: Path | None, checksums: Checksums) -> str:
    """What changes when an archive has to be fetched anew: the file under `archives` is another than was fetched."""
    if one.archive.sha256 is not None:
        return ""
    record = record_of(target)
    try:
        found = find_archive(archives, one.archive, one.dataset) if archives is not None else None
    except CorpusError:
        found = None  # for the step to say
    if found is not None and (record is None or checksums(found) != record.sha256):
        return checksums(found)
    return record.sha256 if record is not None and record.local else ""


def edited_state(archives: Iterable[tuple[ArchiveConfig, Path]], checksums: Checksums) -> str:
    """What changes when files below `resources/` are edited in place; "" while they are as they were fetched."""
    edited = []
    for archive, path in archives:
        record = record_of(path)
        wanted = archive.sha256 or (record.sha256 if record else None)
        if wanted is not None and path.is_file() and (found := checksums(path)) != wanted:
            edited.append(found)
    return hashlib.sha256(" ".join(edited).encode()).hexdigest()[:16] if edited else ""
