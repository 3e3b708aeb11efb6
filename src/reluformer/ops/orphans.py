"""Ends processes whose starter is gone, so that a killed Snakemake or launcher leaves nothing running behind.

Linux only: elsewhere these functions do nothing. Imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import threading

STARTER = "RELUFORMER_STARTER"
"""The variable by which Snakemake names itself to the steps that it starts: PID@HOST."""

PR_SET_PDEATHSIG = 1


def end_with_starter() -> None:
    """Sends this process SIGTERM once the Snakemake that started it is gone.

    A training saves and exits, any other step ends. Without `RELUFORMER_STARTER` (a step that a person started may
    outlive the shell) and on another host (SLURM ends the tasks of its steps itself) nothing happens.
    """
    pid, _, host = os.environ.get(STARTER, "").partition("@")
    if pid and host == socket.gethostname():
        end_with(int(pid))


def end_with(pid: int, number: int = signal.SIGTERM) -> None:
    """Sends this process the signal `number` once the process `pid`, which need not be its parent, is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), number)
        return
    except (AttributeError, OSError):  # not Linux, or older than 5.3
        return

    def wait() -> None:
        gone = select.poll()
        gone.register(descriptor, select.POLLIN)
        gone.poll()
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, name="orphans", daemon=True).start()


def die_with_main_process() -> None:
    """Kills this process of `multiprocessing` once the one that asked for it is gone, whatever server started it."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None and parent.pid is not None:
        end_with(parent.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        parent = os.getppid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)
