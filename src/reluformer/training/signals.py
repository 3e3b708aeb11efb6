"""Signals that ask a training to save and leave. Imports nothing heavy: handlers are set before torch is read."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What asks a training to save and leave."""


class Signals:
    """Remembers that a signal asked this process to leave."""

    def __init__(self) -> None:
        self.asked = False
        for number in ASKING:
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        parent = os.getppid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)
