"""Places of fetched archives below `resources/`, and the state that decides whether they are stale.

An archive with a checksum in the configuration is `resources/NAME`, which corpora share. Others are in their dataset's
folder, `resources/DATASET/NAME`: two corpora may each have a `train.de`. `NAME.sha256` next to it records the checksum
of what was fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reluformer.config.dataset import ArchiveConfig, DatasetConfig
from reluformer.corpus import CorpusError
from reluformer.files import find_files, sha256, write_text

LOCAL = "# from a folder of archives"
"""A line in NAME.sha256 that `sha256sum --check` skips."""


class Fetched(NamedTuple):
    """An archive and the dataset that it is fetched for."""

    dataset: str
    archive: ArchiveConfig


def archive_places(datasets: Mapping[str, DatasetConfig]) -> dict[str, Fetched]:
    """Returns every archive by its path below `resources/`."""
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
    """Returns the paths below `resources/` of a dataset's archives, in their order."""
    own = (f"{dataset}/{archive.name}" for archive in archives)
    return [path if path in places else path.partition("/")[2] for path in own]


def sole_places(places: Iterable[str]) -> dict[str, str]:
    """Returns the places in datasets' folders by the archive's name, for names that only one dataset has."""
    names: dict[str, list[str]] = {}
    for place in places:
        names.setdefault(place.rpartition("/")[2], []).append(place)
    return {name: same[0] for name, same in names.items() if len(same) == 1 and "/" in same[0]}


class Record(NamedTuple):
    """NAME.sha256: the checksum of the file that was fetched, and whether it came from a folder of archives."""

    sha256: str
    local: bool


def record_of(target: Path) -> Record | None:
    """Returns the record of a fetched file, if there is one."""
    try:
        text = _record_file(target).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return Record(text.split()[0], LOCAL in text) if text.strip() else None


def write_record(target: Path, local: bool) -> None:
    """Writes NAME.sha256 in the format of sha256sum."""
    comment = f"{LOCAL}\n" if local else ""
    write_text(_record_file(target), f"{sha256(target)}  {target.name}\n{comment}")


def _record_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def find_archive(folder: Path, archive: ArchiveConfig, dataset: str) -> Path | None:
    """Returns the file with the archive's published name below `folder`, if there is one.

    Of several, prefers the one with the configured checksum, or below a folder of the dataset's name. Raises
    `CorpusError` if several different files remain.
    """
    if not folder.is_dir():
        raise CorpusError(f"archives: {folder}: there is no such folder")
    files = find_files(folder, archive.name)
    if len(files) < 2:
        return files[0] if files else None
    sums = {path: sha256(path) for path in files}
    right = [path for path in files if sums[path] == archive.sha256]
    own = right or [path for path in files if dataset in path.relative_to(folder).parts[:-1]] or files
    if len({sums[path] for path in own}) > 1:
        raise CorpusError(
            f"archives: {folder}: several different files are called {archive.name}: {', '.join(map(str, own))}; "
            f"put that of this dataset into a folder called {dataset}"
        )
    return own[0]


class Checksums:
    """SHA-256 of files, cached in `file` while a file's size, times and inode stay the same."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._cache: dict[str, list[object]] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._cache = {}

    def __call__(self, path: Path) -> str:
        """Returns the checksum of a file."""
        key, stat = str(path.resolve()), path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        entry = self._cache.get(key)
        if entry is None or entry[:-1] != state:
            self._cache[key] = entry = [*state, sha256(path)]
            with suppress(OSError):  # an unwritable cache costs only time
                write_text(self._file, json.dumps(self._cache))
        return str(entry[-1])


def fetched_state(one: Fetched, target: Path, archives: Path | None, checksums: Checksums) -> str:
    """Returns a text that changes when an archive has to be fetched again because the file below `archives` changed."""
    if one.archive.sha256 is not None:
        return ""
    record = record_of(target)
    try:
        local = find_archive(archives, one.archive, one.dataset) if archives is not None else None
    except CorpusError:
        local = None  # the fetching step reports it
    if local is not None and (record is None or checksums(local) != record.sha256):
        return checksums(local)
    return record.sha256 if record is not None and record.local else ""


def edited_state(archives: Iterable[tuple[ArchiveConfig, Path]], checksums: Checksums) -> str:
    """Returns a text that changes when files below `resources/` are edited in place; "" while they are unchanged."""
    edited = []
    for archive, path in archives:
        record = record_of(path)
        expected = archive.sha256 or (record.sha256 if record else None)
        if expected is not None and path.is_file() and (digest := checksums(path)) != expected:
            edited.append(digest)
    return hashlib.sha256(" ".join(edited).encode()).hexdigest()[:16] if edited else ""
