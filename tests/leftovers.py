"""Cleans up after a test process, however it ended: normally, by Ctrl-C, a timeout or `kill -9`.

    pytest (and each of its xdist workers)
      └─ this file, in its own session: waits for that process to end, then kills its processes and removes its folder

A process belongs to a test process if its environment has that process's variable, if it runs in its mount namespace
(SLURM's step daemons overwrite their environment), or if it was started by such a process. Linux only; the namespace
needs root. In it, /etc/slurm and the mounts of the tests are private to the process and vanish with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS, MS_REC, MS_SLAVE = 0x20000, 1 << 14, 1 << 19
SECONDS = 60
"""How long the cleanup keeps killing processes before it gives up."""

private_mounts = False
"""Whether this process has a mount namespace of its own."""


def watch() -> None:
    """Gives this process its own temporary folder and, for root, its own mounts; starts the process that cleans up."""
    global private_mounts
    if not hasattr(os, "pidfd_open"):
        return
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RELUFORMER_TESTS_")}
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest's own folders outlive the run
    folder = tempfile.mkdtemp(prefix="reluformer-tests-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"])
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    mark = f"RELUFORMER_TESTS_{Path(folder).name.rpartition('-')[2]}"
    os.environ[mark] = str(os.getpid())
    private_mounts = _unshare_mounts()
    namespace = str(Path("/proc/self/ns/mnt").readlink()) if private_mounts else ""
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark, namespace, folder],
        env=bare,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _unshare_mounts() -> bool:
    """Moves this thread and its children into a new mount namespace; returns whether that succeeded."""
    libc = ctypes.CDLL(None)
    return libc.unshare(CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) == 0


def bind(folder: Path, place: Path) -> None:
    """Bind-mounts `folder` at `place` in the private mount namespace."""
    assert private_mounts
    subprocess.run(["mount", "--bind", str(folder), str(place)], check=True)


def main(pid: int, mark: str, namespace: str, folder: str) -> None:
    """Waits for `pid` to end, kills the processes that belong to it, and removes `folder`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ProcessLookupError):
        poll = select.poll()
        poll.register(os.pidfd_open(pid), select.POLLIN)
        poll.poll()
    end = time.monotonic() + SECONDS
    while (left := belonging(mark, namespace)) and time.monotonic() < end:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def belonging(mark: str, namespace: str) -> set[int]:
    """Returns the processes with `mark` in their environment or in `namespace`, and all their descendants.

    Leaves out the cleanup processes, this one and those of xdist's workers, which act when the workers are killed.
    """
    parents = dict(_parents())
    ours = {pid for pid in parents if _carries(pid, mark, namespace)}
    more = ours
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - ours
        ours |= more
    return {pid for pid in ours if not _clears_up(pid)}


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_bytes().rpartition(b") ")[2].split()[:2]
                if state != b"Z":
                    yield int(entry.name), int(parent)


def _clears_up(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return __file__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def _carries(pid: int, mark: str, namespace: str) -> bool:
    with contextlib.suppress(OSError):
        if f"{mark}=".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return True
        return bool(namespace) and str(Path(f"/proc/{pid}/ns/mnt").readlink()) == namespace
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
