"""ReLU attention without its n × n weights: C++ for CPUs, Triton for GPUs, tiles in plain torch.

Shapes: B batch, H heads, Q rows (queries), K slots (keys), D head width.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

TRITON_WIDEST = 128
"""Head width up to which the Triton kernel is used."""


class AttentionOptions(NamedTuple):
    """What a fused read takes beside query, key and value.

    Attributes:
        keys: bool [B, K], true where a slot is visible; None if all are.
        causal: row i sees the slots up to K − Q + i.
        scale: multiplies the scores.
        dropout: probability, on the weights, decided by `seed`.
        statistics: whether to return the sums that the penalty needs.
        factor: c_i > 0, [B|1, H|1, Q|1, 1], multiplies the scores of row i; None for 1.
    """

    keys: Tensor | None = None
    causal: bool = False
    scale: float = 1.0
    dropout: float = 0.0
    seed: int = 0
    statistics: bool = False
    factor: Tensor | None = None


class FusedRead(NamedTuple):
    """A read without its weights.

    Attributes:
        output: [B, H, Q, D].
        total: Σ_j s_ij of the weights before dropout, [B, H, Q] in fp32 or more; None without `statistics`.
        logs: Σ_j s_ij log s_ij, likewise.
    """

    output: Tensor
    total: Tensor | None = None
    logs: Tensor | None = None
