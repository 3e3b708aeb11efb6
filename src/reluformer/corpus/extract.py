"""Tar archives, read with suspicion: nothing outside the folder, no links, no devices, and the members as published."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from reluformer.corpus.content import TAR, open_data
from reluformer.corpus.errors import CorpusError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def verify_members(archive: Path, checksums: Mapping[str, str], source: str | None = None) -> None:
    """Refuses an archive with an unsafe member, or whose members have other checksums. Raises `CorpusError`."""
    source = source or str(archive)
    missing = set(checksums)
    with _open(archive, source) as tar:
        for member in _safe(tar, source):
            if member.name in checksums:
                stream = tar.extractfile(member)
                found = hashlib.file_digest(stream, "sha256").hexdigest() if stream else None  # type: ignore[arg-type]
                if found != checksums[member.name]:
                    raise CorpusError(f"{source}: {member.name}: sha256 is {found}, expected {checksums[member.name]}")
                missing.discard(member.name)
    if missing:
        raise CorpusError(f"{source}: {min(missing)} is missing from the archive")


def extract(archive: Path, folder: Path) -> None:
    """Extracts every file of a tar archive into `folder`. Raises `CorpusError` before anything unsafe is written."""
    verify_members(archive, {})
    with _open(archive, str(archive)) as tar:
        # Python before 3.11.4 (Debian 12 has 3.11.2) knows no filters; what one would refuse, `_safe` has refused.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)


class _open:
    """`tarfile.open` whose errors, at opening and while reading, are a `CorpusError`."""

    def __init__(self, archive: Path, source: str) -> None:
        self._archive, self._source = archive, source

    def __enter__(self) -> tarfile.TarFile:
        self._stack = ExitStack()
        with ExitStack() as stack:
            data, kind = stack.enter_context(open_data(self._archive, self._source))
            if kind != TAR:
                raise CorpusError(f"{self._source}: {kind}, where a tar archive is expected")
            try:
                self._tar = stack.enter_context(tarfile.open(fileobj=data, mode="r:"))
            except (tarfile.TarError, EOFError, OSError) as error:
                raise CorpusError(f"{self._source}: not a readable tar archive: {error}") from None
            self._stack = stack.pop_all()
        return self._tar

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        if isinstance(error, tarfile.TarError | EOFError | OSError):
            raise CorpusError(f"{self._source}: broken tar archive: {error}") from None


def _safe(tar: tarfile.TarFile, source: str) -> Iterator[tarfile.TarInfo]:
    files: set[str] = set()
    for member in tar:
        if member.isreg() and member.name in files:
            raise CorpusError(f"{source}: {member.name!r} is in the archive twice")
        files.add(member.name)
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise CorpusError(f"{source}: refused: {member.name!r} lies outside the archive's folder")
        if not (member.isreg() or member.isdir()):
            kind = "a link" if member.issym() or member.islnk() else "a device or special file"
            raise CorpusError(f"{source}: refused: {member.name!r} is {kind}")
        yield member
