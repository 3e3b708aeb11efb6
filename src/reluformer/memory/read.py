"""The one place where queries meet keys and values: `out = f(q·Kᵀ)·V`.

Shapes: B batch, H heads, Q rows (queries), K slots (keys), D width of a key.
Sequence slots: query [B, H, Q, D], key and value [B, H, K, D]. Learned slots: query [B, Q, D], key and value [K, D].
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from reluformer.memory.activations import Activation, Fused
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.ops.dropout import drop


class Slots(Protocol):
    """Keys or values that are read in a way of their own."""

    def scores(self, query: Tensor) -> Tensor:
        """q·k with every slot that a row sees."""

    def mix(self, weights: Tensor) -> Tensor:
        """Σ weight · v over the slots that a row sees."""


class Reading(NamedTuple):
    """What a read gives: output like the query; weights [B, (H,) Q, K] and the penalty's scalar only if asked for."""

    output: Tensor
    weights: Tensor | None
    penalty: Tensor | None


def read(
    query: Tensor,
    key: Tensor | Slots,
    value: Tensor | Slots,
    activation: Activation,
    visible: AttentionMask,
    *,
    scale: float = 1.0,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    penalty: Penalty | None = None,
    rows: Tensor | None = None,
    weights: bool = False,
) -> Reading:
    """Reads a memory: out_i = Σ_j f(c_i · scale · q_i·k_j) v_j, f and c_i of the activation (Eq. 6: ScaledReLU).

    key, value: or `Slots` of which every row sees all (bias and visibility are theirs).
    scale: 1/√d in attention, 1 in the FFN. bias: [K], added to the scores (a biased FFN's). dropout: probability, on
    the weights. penalty: Eq. 7, computed from the same weights before dropout, on the rows where `rows` (bool [B, Q])
    is true. weights: whether to return them.

    The one seam for faster backends: they stand behind this signature.
    """
    count = visible.count(query.size(-2), query)
    c = activation.factor(count)
    factor = c if isinstance(c, Tensor) else None
    if not isinstance(c, Tensor):
        scale *= c
    if not weights and bias is None and isinstance(key, Tensor) and isinstance(value, Tensor):
        fused = activation.fused(query, key, value, visible, scale, dropout, factor, statistics=penalty is not None)
        if fused is not None:
            return Reading(fused.output, None, _penalty(fused, penalty, count, rows))
    if factor is not None:
        query, scale = query * (factor * scale).to(query.dtype), 1.0
    s = activation(_scores(query, key, visible, scale, bias))
    if activation.normalised and (some := visible.some()) is not None:
        s = s * some
    loss = None if penalty is None else penalty(s, count, rows)
    dropped = drop(s, dropout)
    output = torch.matmul(dropped, value) if isinstance(value, Tensor) else value.mix(dropped)
    return Reading(output, s if weights else None, loss)


def _penalty(fused: Fused, penalty: Penalty | None, count: Tensor | int, rows: Tensor | None) -> Tensor | None:
    """The penalty's scalar from the sums of the rows that a kernel gave."""
    if penalty is None:
        return None
    assert fused.total is not None and fused.logs is not None
    return penalty.mean(penalty.rows(fused.total, fused.logs, count), rows)


def _scores(query: Tensor, key: Tensor | Slots, visible: AttentionMask, scale: float, bias: Tensor | None) -> Tensor:
    """scale · q·Kᵀ, hidden slots near the most negative number; the scale and the mask cost no pass of their own."""
    if not isinstance(key, Tensor):
        return key.scores(query * scale if scale != 1.0 else query)
    if key.dim() == 2:
        return linear(query * scale if scale != 1.0 else query, key, bias)
    batch, heads, rows, width = query.shape
    query, key = query.reshape(-1, rows, width), key.reshape(-1, key.size(-2), width)
    hidden = visible.bias(rows, query)
    if hidden is None:
        hidden, beta = query.new_empty(()), 0
    else:
        beta = 1
        hidden = hidden[0, 0] if hidden.size(0) == 1 else hidden.expand(-1, heads, -1, -1).flatten(0, 1)
    scores = torch.baddbmm(hidden, query, key.mT, beta=beta, alpha=scale)
    return scores.view(batch, heads, rows, -1)
