"""The losses of the last updates, summed over the processes, and what the processes must agree on.

Updates put their losses here without waiting for the device; `flush` sums them over all processes in one exchange.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reluformer.training.engine import DistributedContext


class Totals(NamedTuple):
    """One update, over all processes."""

    update: int
    tokens: int
    """Target tokens."""
    loss: float
    """Label-smoothed, nats a token."""
    nll: float
    """Nats a token."""
    penalty: float
    """Eq. 7, the mean over the processes and micro-batches weighted by their target tokens."""
    positions: int
    """Source and target positions, padding included."""
    filled: int
    """Source and target tokens."""


class LossReducer:
    """Collects what the updates give and sums it over the processes.

    Args:
        world: the processes.
    """

    def __init__(self, world: DistributedContext) -> None:
        self.world = world
        self._updates: list[tuple[int, int]] = []
        self._losses: list[Tensor] = []
        self._counts: list[tuple[int, int]] = []

    def put(self, update: int, tokens: int, losses: Tensor, positions: int, filled: int) -> None:
        """Adds one update of this process.

        Args:
            update: its number.
            tokens: target tokens of the update, over all processes.
            losses: [3] sums over this process's tokens: label-smoothed loss, nll, penalty times tokens.
            positions: source and target positions of this process.
            filled: those that are not padding.
        """
        self._updates.append((update, tokens))
        self._losses.append(losses)
        self._counts.append((positions, filled))

    def flush(self, *flags: bool) -> tuple[list[Totals], list[bool]]:
        """The totals of the updates since the last flush, and for each flag whether any process raised it."""
        losses = torch.stack(self._losses).double()
        numbers = torch.tensor([*(n for pair in self._counts for n in pair), *flags], dtype=torch.float64)
        packed = torch.cat([losses.flatten(), numbers.to(losses.device, non_blocking=True)])
        values = self.world.sum(packed).tolist()
        totals = []
        counts = 3 * len(self._updates)
        for index, (update, tokens) in enumerate(self._updates):
            loss, nll, penalty = (value / tokens for value in values[3 * index : 3 * index + 3])
            positions, filled = values[counts + 2 * index : counts + 2 * index + 2]
            totals.append(Totals(update, tokens, loss, nll, penalty, int(positions), int(filled)))
        raised = [value > 0 for value in values[len(values) - len(flags) :]]
        self._updates, self._losses, self._counts = [], [], []
        return totals, raised
