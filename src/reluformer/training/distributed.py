"""The processes of a training run, and the reduction of losses over them."""

from __future__ import annotations

import os
from typing import NamedTuple

import deepspeed
import deepspeed.ops
import torch
from deepspeed.accelerator import get_accelerator
from torch import Tensor


class DistributedContext(NamedTuple):
    """The rank of this process, the number of processes, and this process's device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sums `values` over all processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def broadcast(self, number: int) -> int:
        """Returns the first process's `number` in every process."""
        tensor = torch.tensor([number], device=self.device)
        if self.size > 1:
            torch.distributed.broadcast(tensor, 0)
        return int(tensor.item())

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


def join_world() -> DistributedContext:
    """Joins the process group (NCCL between GPUs, gloo between CPUs) and returns this process's place in it."""
    deepspeed.ops.__compatible_ops__ = {}  # none is used here; otherwise DeepSpeed would look for a compiler
    deepspeed.init_distributed(get_accelerator().communication_backend_name(), verbose=False)
    local = int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu")
    if get_accelerator().device_name() != "cpu":
        get_accelerator().set_device(local)
        device = torch.device(get_accelerator().device_name(local))
    return DistributedContext(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)


class Totals(NamedTuple):
    """The losses of one update over all processes, in nats per target token, and its sizes."""

    update: int
    tokens: int  # target tokens
    loss: float  # label-smoothed
    nll: float
    penalty: float  # Eq. 7, weighted by target tokens over processes and micro-batches
    positions: int  # source and target positions, padding included
    filled: int  # positions that hold a token


class LossReducer:
    """Collects the losses of updates without waiting for the device; `flush` sums them in one all-reduce."""

    def __init__(self, world: DistributedContext) -> None:
        self.world = world
        self._updates: list[tuple[int, int]] = []
        self._losses: list[Tensor] = []
        self._counts: list[int] = []

    def put(self, update: int, tokens: int, losses: Tensor, positions: int, filled: int) -> None:
        """Adds one update.

        tokens: target tokens over all processes. losses: [3], this process's sums over tokens of label-smoothed loss,
        nll and penalty. positions, filled: as in `Totals`, for this process.
        """
        self._updates.append((update, tokens))
        self._losses.append(losses)
        self._counts += positions, filled

    def flush(self, *flags: bool) -> tuple[list[Totals], list[bool]]:
        """Returns the totals since the last flush, and for each flag whether any process raised it."""
        losses = torch.stack(self._losses).double()
        numbers = torch.tensor([*self._counts, *flags], dtype=torch.float64)
        packed = torch.cat([losses.flatten(), numbers.to(losses.device, non_blocking=True)])
        values = iter(self.world.sum(packed).tolist())
        means = [[next(values) / tokens for _ in range(3)] for _, tokens in self._updates]
        totals = []
        for (update, tokens), (loss, nll, penalty) in zip(self._updates, means, strict=True):
            totals.append(Totals(update, tokens, loss, nll, penalty, int(next(values)), int(next(values))))
        self._updates, self._losses, self._counts = [], [], []
        return totals, [value > 0 for value in values]
