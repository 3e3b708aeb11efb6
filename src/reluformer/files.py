"""Atomic writes: readers see the old file or the complete new one, even after a crash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def destination(path: Path) -> Path:
    """Returns the file that a write to `path` changes: the target if it is a link, which need not exist.

    Raises:
        OSError: `path` is a folder, a disk, or a circular link.
    """
    try:
        kind = path.stat().st_mode  # of what a link points to
    except (FileNotFoundError, NotADirectoryError):
        kind = 0
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "this is a folder; name a file", str(path))
    if stat.S_ISBLK(kind):
        raise OSError(errno.ENOTSUP, "this is a disk; name a file", str(path))
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def replace(path: Path, write: Callable[[Path], object], streams: bool = False) -> None:
    """Calls `write` with a temporary path next to `path`, with the same suffix, then renames it; makes the folder.

    Replaces the target of a link. A file keeps its permissions; a new one gets those of the umask (safetensors would
    make it readable only by its owner). Writes into anything that is not a plain file: a device, a named pipe,
    standard output as `-` or /dev/stdout.

    Args:
        streams: `write` writes sequentially, so it can write straight into a pipe.

    Raises:
        OSError: `path` cannot be written; the error names it.
    """
    descriptor = descriptor_of(path)
    target = path if descriptor is not None else destination(path)
    plain = descriptor is None and (target.is_file() or not target.exists())
    folder = target.parent if plain else Path(tempfile.gettempdir())
    temporary = folder / f".{target.stem[:100]}.{os.getpid()}{target.suffix}"
    try:
        if streams and not plain and descriptor is None:
            write(target)
            return
        folder.mkdir(parents=True, exist_ok=True)
        mode = _mode(target) if plain else 0o600
        write(temporary)
        if not plain:
            opened = os.open(target, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
            with temporary.open("rb") as source, os.fdopen(opened, "wb") as file:
                shutil.copyfileobj(source, file)
            return
        temporary.chmod(mode)
        sync(temporary)
        temporary.replace(target)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Checks before long work that a file can be written after it; makes its folder.

    Raises:
        OSError: `path` cannot be written; the error names it.
    """
    if descriptor_of(path) is not None:
        return
    target = destination(path)
    if target.exists() and not target.is_file():  # a device or a pipe
        return
    try:
        try_folder(target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def try_folder(folder: Path) -> None:
    """Makes a folder and writes an unnamed file there. Raises `OSError` if either fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def descriptor_of(path: Path) -> int | None:
    """Returns the descriptor that a path stands for: `-`, /dev/stdout, /dev/fd/3; None for any other path."""
    named = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
    if str(path) in named:
        return named[str(path)]
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    return int(match[1]) if match else None


def _mode(target: Path) -> int:
    """Returns the permissions of a file, or those for a new one. Raises `PermissionError` if it is read-only."""
    if not target.exists():
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "permission denied", str(target))
    return stat.S_IMODE(target.stat().st_mode)


def find_files(folder: Path, name: str) -> list[Path]:
    """Returns the files called `name` in and below `folder`, sorted; follows links, but visits each folder once."""
    paths, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = Path(parent).stat()
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()  # a link to a parent folder
            continue
        seen.add((place.st_dev, place.st_ino))
        if name in names and (path := Path(parent, name)).is_file():
            paths.append(path)
    return sorted(paths)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool = False) -> Iterator[None]:
    """Locks `path`, a file or a folder, against other processes that lock it.

    Raises `BlockingIOError` if another process has the lock, unless `wait`. Does nothing if the disk supports no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(os.path.realpath(path.parent)) / f".{path.name[:100]}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(errno.EAGAIN, "another process is writing this; wait until it ends", str(path)) from None
    except NotImplementedError:
        pass
    try:
        yield
    finally:
        lock.release()


def require_own_folder(folder: Path) -> Path:
    """Returns `folder`. Raises `OSError` if it is the working folder or one of its parents."""
    if os.path.realpath(folder) in [str(place) for place in (Path.cwd(), *Path.cwd().parents)]:
        raise OSError(errno.EISDIR, "this is the current folder or one of its parents; name another", str(folder))
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes `text` atomically as UTF-8, without translating line endings."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""), streams=True)


def write_json(path: Path, data: Any) -> None:
    """Writes `data` atomically as JSON. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_by_content(folder: Path, data: Any, write: bool = True) -> Path:
    """Writes `data` as JSON into a file named by its hash; without `write`, only returns the path."""
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if write and not path.is_file():
        write_text(path, text)
    return path
