"""The real rows of one memory read, the input of the measures: no padded queries, no weight on hidden slots.

Shapes: B sequences, N real rows (queries), H heads (1 in an FFN), K slots, D head width, E model width, M real tokens
whose values are the slots, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reluformer.analysis.accumulate import at_least_fp32
from reluformer.config.model import kind_of

if TYPE_CHECKING:
    from reluformer.corpus.batches import Batch
    from reluformer.memory.read import Observation


@dataclass(frozen=True)
class Rows:
    """The real rows of one read.

    weights: [N, H, K] in fp32 or wider, f(q·Kᵀ) as the read used it.
    counts: int [N], the number of slots that each row may see, the paper's n_i.
    output: [N, E], what the module adds to the residual. residual: [N, E], what it is added to.
    values: [K, E], the value vectors of a learned memory, or [M, H, D], those of the tokens.
    visible: bool [N, K], the slots that each row may see; None: all.
    distance: int [N, K], |i − j| in tokens; self-attention only.
    punctuation: bool [N, K], slots that are a comma or a period; attention only.
    """

    weights: Tensor
    counts: Tensor
    output: Tensor
    residual: Tensor
    values: Tensor
    visible: Tensor | None = None
    distance: Tensor | None = None
    punctuation: Tensor | None = None

    @cached_property
    def mass(self) -> Tensor:
        """Σ_j s_j of each row, [N, H]."""
        return self.weights.sum(-1)

    @cached_property
    def alive(self) -> Tensor:
        """bool [N, H]: whether the row has any weight."""
        return self.mass > 0

    @cached_property
    def shares(self) -> Tensor:
        """s_j / Σ s, [N, H, K]; 0 in an all-zero row."""
        return self.weights / torch.where(self.alive, self.mass, 1)[..., None]


def rows_of(place: str, read: Observation, batch: Batch[Tensor], punctuation: Tensor) -> Rows:
    """Returns the real rows of what `place` read in a batch; punctuation: bool [V], commas and periods."""
    kind = kind_of(place)
    real = batch.tgt_mask if place.startswith("decoder.") else batch.src_mask
    assert read.residual is not None
    output, residual = read.output.detach()[real], read.residual.detach()[real]
    weights = at_least_fp32(read.weights.detach())
    if kind == "ffn":
        flat = weights[real][:, None]  # [B, L, K] -> [N, 1, K]
        counts = torch.full((flat.size(0),), flat.size(-1), device=flat.device)
        return Rows(flat, counts, output, residual, at_least_fp32(read.value.detach()))
    flat = weights.transpose(1, 2)[real]  # [B, H, Q, K] -> [N, H, K]
    sequence, query = real.nonzero(as_tuple=True)
    own = kind == "decoder_attention"
    tokens, slots = (batch.tgt_in, batch.tgt_mask) if own else (batch.src, batch.src_mask)
    distance = (query[:, None] - torch.arange(flat.size(-1), device=flat.device)) if kind != "cross_attention" else None
    visible = slots[sequence]
    if own and distance is not None:
        visible = visible & (distance >= 0)
    return Rows(
        flat,
        visible.sum(-1),
        output,
        residual,
        values=at_least_fp32(read.value.detach()).transpose(1, 2)[slots],  # [B, H, K, D] -> [M, H, D]
        visible=visible,
        distance=None if distance is None else distance.abs(),
        punctuation=punctuation[tokens][sequence],
    )
