"""The batches of the next updates, made while the device computes this one.

Where the device is a GPU one thread collates the next AHEAD updates into pinned memory, and the loop only asks for the
copies, which the host does not wait for. On a CPU, where nothing computes beside the host, the loop collates itself.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reluformer.corpus.batches import BatchSampler, Indices, collate
from reluformer.corpus.store import Store

AHEAD = 2
"""Updates that are ready, or in the making, while one is computed."""


class MicroBatch(NamedTuple):
    """What `Objective.forward` takes, on one device: ids int64 [B, S|T], masks bool, true on real tokens."""

    src: Tensor
    src_mask: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_mask: Tensor
    real: Tensor
    """int64 [N], the places of the real target tokens in B·T."""


class FedUpdate(NamedTuple):
    """One optimizer update of this process."""

    micro: list[MicroBatch]
    target_tokens: int
    """Of the whole global batch."""
    epoch: int
    positions: int
    """Source and target positions of this process, padding included."""
    filled: int
    """Those that are not padding."""


class PrefetchLoader:
    """An endless iterator of `FedUpdate`; what is made in advance is no part of its state.

    Args:
        sampler: which sequences; nobody else may draw from it.
        store: the sequences.
        device: where the tensors are wanted.

    An error of the sampler or the store is raised, as it is, by the `next` that would have given its update.
    """

    def __init__(self, sampler: BatchSampler, store: Store, device: torch.device) -> None:
        self._sampler, self._store, self._device = sampler, store, device
        self._state = sampler.state_dict()
        self._thread: ThreadPoolExecutor | None = None
        self._pending: deque[Future[tuple[FedUpdate, dict[str, Any]]]] = deque()

    def __iter__(self) -> PrefetchLoader:
        return self

    def __next__(self) -> FedUpdate:
        made, self._state = self._make() if self._device.type == "cpu" else self._next_pending()
        micro = [MicroBatch(*(x.to(self._device, non_blocking=True) for x in batch)) for batch in made.micro]
        return made._replace(micro=micro)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's state after the last update that was given out."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken; what was made in advance is dropped."""
        self.close()
        self._sampler.load_state_dict(state)
        self._state = self._sampler.state_dict()

    def close(self) -> None:
        """Ends the thread, if there is one; the next update is the one after the last that was given out."""
        if self._thread is None:
            return
        self._thread.shutdown(cancel_futures=True)
        self._thread = None
        self._pending.clear()
        self._sampler.load_state_dict(self._state)

    def _next_pending(self) -> tuple[FedUpdate, dict[str, Any]]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "feed", initializer=self._enter_device)
        while len(self._pending) <= AHEAD:
            self._pending.append(self._thread.submit(self._make))
        return self._pending.popleft().result()

    def _enter_device(self) -> None:
        """Pinned memory belongs to the device that is current in the thread."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _make(self) -> tuple[FedUpdate, dict[str, Any]]:
        """The sampler's next update on the host, and the sampler's state after it."""
        update = next(self._sampler)
        micro = [self._on_host(indices) for indices in update.micro]
        positions = sum(batch.src.numel() + batch.tgt_in.numel() for batch in micro)
        filled = sum(int(batch.src_mask.sum()) + batch.real.numel() for batch in micro)
        return FedUpdate(micro, update.target_tokens, update.epoch, positions, filled), self._sampler.state_dict()

    def _on_host(self, indices: Indices) -> MicroBatch:
        batch = collate(self._store, indices)
        tensors = (torch.from_numpy(array) for array in (*batch, np.flatnonzero(batch.tgt_mask)))
        return MicroBatch(*(x.pin_memory() if self._device.type == "cuda" else x for x in tensors))
