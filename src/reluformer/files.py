"""Writing files so that a reader sees the old one or the whole new one, also after a crash."""

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
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def destination(path: Path) -> Path:
    """The file that writing to `path` changes: where a link points to, if only to a place where nothing is yet.

    Raises:
        OSError: `path` is a folder, a disk, or a link in a circle.
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
    """Calls `write` with a temporary name beside `path`, of the same suffix, then renames; makes the folder.

    A link stays and its target is replaced; a file keeps its permissions, a new one has those that the umask allows
    (safetensors would make it readable for its owner alone). What is no plain file is written into: a device, a named
    pipe, standard output as `-` or /dev/stdout.

    Args:
        streams: `write` goes through its file from the first byte to the last, so that a pipe gets each as it comes.

    Raises:
        OSError: `path` cannot be written; it is the file that the error names.
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
            with temporary.open("rb") as source, open(_opened(target, descriptor), "wb") as file:
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


def descriptor_of(path: Path) -> int | None:
    """The open stream of this process that a path stands for: `-`, /dev/stdout, /dev/fd/3; None of any other."""
    named = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
    if str(path) in named:
        return named[str(path)]
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    return int(found[1]) if found else None


def _opened(target: Path, descriptor: int | None) -> int:
    return os.open(target, os.O_WRONLY) if descriptor is None else os.dup(descriptor)


def _mode(target: Path) -> int:
    """The permissions of a file that is there, of which one that nobody may write is kept; else those of a new one."""
    if not target.exists():
        return 0o666 & ~_umask()
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "permission denied", str(target))
    return stat.S_IMODE(target.stat().st_mode)


def find_files(folder: Path, name: str) -> list[Path]:
    """The files called exactly `name` in and below `folder`, links followed, each folder once; sorted."""
    found, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = Path(parent).stat()
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()  # a link to a folder above
            continue
        seen.add((place.st_dev, place.st_ino))
        if name in names and (path := Path(parent, name)).is_file():
            found.append(path)
    return sorted(found)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes that ask for the same `path`, a file or a folder, away from it; ends with this process.

    Raises `BlockingIOError` where another process has it, unless `wait`. A file system without locks has none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(os.path.realpath(path.parent)) / f".{path.name[:100]}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(errno.EAGAIN, "another process is writing this; wait for its end", str(path)) from None
    except NotImplementedError:
        pass
    try:
        yield
    finally:
        lock.release()


def require_own_folder(folder: Path) -> Path:
    """`folder`, which is about to be filled. Raises `OSError` where it is the working folder or one above it."""
    if os.path.realpath(folder) in [str(place) for place in (Path.cwd(), *Path.cwd().parents)]:
        raise OSError(errno.EISDIR, "this is the folder where you are, or one above; name one of its own", str(folder))
    return folder


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """UTF-8 with the line ends of `text`, whole or not at all."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""), streams=True)


def write_json(path: Path, data: Any) -> None:
    """`data` as JSON, whole or not at all. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_by_content(folder: Path, data: Any, write: bool = True) -> Path:
    """Writes `data` as JSON into a file that is named by its content; without `write`, only returns the path."""
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if write and not path.is_file():
        write_text(path, text)
    return path
