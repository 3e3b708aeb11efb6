"""Signals that ask a training to save and leave. Imports nothing heavy: handlers are set before torch is read."""

from __future__ import annotations

import signal

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
