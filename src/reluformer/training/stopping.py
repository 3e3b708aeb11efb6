"""When a training ends before its last update."""

from __future__ import annotations

import math
from typing import Any


class Divergence:
    """Detects divergence: NaN or infinity at once, or a loss above a bound for several updates in a row.

    Args:
        bound: nats a token.
        patience: updates in a row above the bound.
    """

    def __init__(self, bound: float = 100.0, patience: int = 20) -> None:
        self.bound = bound
        self.patience = patience
        self.over = 0
        self.at: int | None = None

    def judge(self, update: int, loss: float) -> bool:
        """Takes the loss of `update`; true once the training has diverged, at update `at`."""
        if self.at is None:
            self.over = self.over + 1 if loss > self.bound else 0
            if not math.isfinite(loss) or self.over >= self.patience:
                self.at = update
        return self.at is not None

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"over": self.over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.over = state["over"]


class EarlyStopping:
    """Stops after several validations in a row without a lower loss.

    patience: validations without improvement; 0 never stops.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: float | None = None
        self.waited = 0

    def judge(self, loss: float) -> bool:
        """Takes one validation's loss; returns whether to stop."""
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.best, self.waited = state["best"], state["waited"]
