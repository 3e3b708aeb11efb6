"""Reasons to end training before its last update: signals, errors, divergence, no improvement.

Imports nothing heavy: the worker sets its signal handlers before it imports torch.
"""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Signals on which a training saves its state and exits."""
CRASHED, MISTAKEN, INTERRUPTED = 1, 2, 75
"""Exit codes. 75 is EX_TEMPFAIL: the training saved its state after a signal; start it again to resume."""


class Signals:
    """Records whether this process received one of `STOP_SIGNALS`."""

    def __init__(self) -> None:
        self.received = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.received = True


class Interrupted(Exception):
    """The training saved its state and exits because of a signal."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message is one line for the user, and the job fails."""


@dataclass
class Divergence:
    """Detects divergence: NaN or infinity at once, or `patience` losses in a row above `bound` nats per token."""

    bound: float = 100.0
    patience: int = 20
    over: int = 0
    at: int | None = None

    def judge(self, update: int, loss: float) -> bool:
        """Records the loss of `update`; returns whether the training has diverged, at update `at`."""
        if self.at is None:
            self.over = self.over + 1 if loss > self.bound else 0
            if not math.isfinite(loss) or self.over >= self.patience:
                self.at = update
        return self.at is not None


@dataclass
class EarlyStopping:
    """Stops after `patience` validations in a row without a lower loss; 0 never stops."""

    patience: int
    best: float | None = None
    waited: int = 0

    def judge(self, loss: float) -> bool:
        """Records the loss of a validation; returns whether to stop."""
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return 0 < self.patience <= self.waited
