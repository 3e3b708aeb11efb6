"""The gradient norm of each slot of a learned memory: which slots still learn.

Shapes: K slots, E model width, B sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reluformer.analysis.accumulate import ZERO
from reluformer.analysis.concentration import top_share_of
from reluformer.analysis.sweep import on_device
from reluformer.config.model import kind_of
from reluformer.corpus.batches import Batch, collate
from reluformer.model.layers import observe

if TYPE_CHECKING:
    from reluformer.corpus.store import Store
    from reluformer.memory.read import Observation
    from reluformer.model.objective import Objective


def random_batches(tgt_lengths: NDArray[np.integer], batches: int, tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yields up to `batches` disjoint batches of about `tokens` target tokens, from a fixed permutation."""
    order = np.random.default_rng(0).permutation(len(tgt_lengths))
    batch_of = (np.cumsum(tgt_lengths[order] + 1) - tgt_lengths[order] - 1) // tokens
    for number in np.unique(batch_of)[:batches]:
        yield order[batch_of == number]


def slot_gradients(objective: Objective, batch: Batch[Tensor]) -> dict[str, Tensor]:
    """Returns ‖∂L/∂(k_j, v_j)‖ of every slot j, [K], of every FFN by place; L: the loss a token with the penalty."""
    slots: dict[str, tuple[Tensor, Tensor]] = {}

    def take(place: str, read: Observation) -> None:
        if kind_of(place) == "ffn":
            slots[place] = (read.key, read.value)

    with torch.enable_grad(), observe(objective.model, take):
        losses = objective(*batch)
        loss = losses.loss_sum / losses.tokens + losses.penalty
        gradients = torch.autograd.grad(loss, [tensor for pair in slots.values() for tensor in pair])
    joined = (torch.cat(pair, dim=-1) for pair in zip(gradients[::2], gradients[1::2], strict=True))
    return {place: gradient.double().norm(dim=-1) for place, gradient in zip(slots, joined, strict=True)}


def gradient_top_shares(
    objective: Objective, store: Store, batches: int, tokens: int
) -> dict[str, dict[str, float | None]]:
    """Returns gradient_top_share[p] of every FFN: the share of Σ_j g_j on the p % of its slots with the largest g_j.

    g_j: the norm of the training loss's gradient (without dropout) in the rows j of K and V, averaged over random
    batches of the split.

    objective: in evaluation mode. batches: averaged, of about `tokens` target tokens each.
    """
    device = next(objective.parameters()).device
    split = random_batches(store.tgt_lengths, batches, tokens)
    every = [slot_gradients(objective, on_device(collate(store, indices), device)) for indices in split]
    return {place: top_share_of(sum((one[place] for one in every), start=ZERO)) for place in every[0]}
