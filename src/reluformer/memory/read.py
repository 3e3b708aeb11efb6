"""The read of every memory: `out = f(q·Kᵀ)·V`.

Shapes: B batch, H heads, Q rows (queries), K slots (keys), D width of a key or value.
Sequence slots: query [B, H, Q, D], key and value [B, H, K, D]. Learned slots: query [B, Q, D], key and value [K, D].
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reluformer.memory.activations import Activation
from reluformer.memory.backends import AttentionOptions
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty, RowSums
from reluformer.ops.beam import SharedKVCache
from reluformer.ops.dropout import drop
from reluformer.ops.linear import linear, worthwhile


class Slots(Protocol):
    """Keys or values that compute their own products."""

    def scores(self, query: Tensor, /) -> Tensor:
        """Returns q·k with every slot that a row sees."""

    def mix(self, weights: Tensor, /) -> Tensor:
        """Returns Σ weight · v over the slots that a row sees."""


class Observation(NamedTuple):
    """One read of one memory, for an observer.

    Attributes:
        query, key, value: of the read: [B, Q, D], [K, D], [K, D] in the FFN, [B, H, Q|K, D] in attention, and
            [B, H, Q, K, D] for key and value in a search, where each row has its own slots.
        weights: before dropout; [B, Q, K] in the FFN, [B, H, Q, K] in attention.
        mask: bool, broadcastable to weights, true where a real row sees a slot.
        rows: bool [B, Q], true where the row is a real token.
        output: of the read; after the whole memory, its output [B, Q, E], which is added to the residual.
        residual: the residual stream [B, Q, E] before that addition; None after the read alone.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    mask: Tensor
    rows: Tensor
    output: Tensor
    residual: Tensor | None = None


class MemoryOutput(NamedTuple):
    """The result of a read or of a whole memory.

    Attributes:
        output: of a read, shaped like the query; of a memory, [B, Q, E].
        penalty: λ · Eq. 7 as a scalar; None unless requested.
        observation: None unless requested.
    """

    output: Tensor
    penalty: Tensor | None = None
    observation: Observation | None = None


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
    observe: bool = False,
) -> MemoryOutput:
    """Reads a memory: out_i = Σ_j f(c_i · scale · q_i·k_j + b_i) v_j, with the activation's f, c_i and b_i.

    Args:
        key, value: tensors, or `Slots`, which apply bias and visibility themselves.
        scale: 1/√d in attention, 1 in the FFN.
        bias: [K], added to the scores (of an FFN with biases).
        dropout: probability, on the weights.
        penalty: Eq. 7, computed from the weights before dropout, on the rows where `rows` (bool [B, Q]) is true.
        observe: whether to return an `Observation`.

    Uses a fused kernel if one applies.
    """
    count = visible.count(query.size(-2), query)
    c, b = activation.factor(count), activation.shift(count)
    factor = c if isinstance(c, Tensor) else None
    shifted = isinstance(b, Tensor) or b != 0
    if not isinstance(c, Tensor):
        scale *= c
    if query.dim() == 4 and not observe and isinstance(key, Tensor) and isinstance(value, Tensor):
        shift = b if isinstance(b, Tensor) else query.new_full((), b, dtype=torch.float32) if shifted else None
        options = AttentionOptions(
            visible.keys,
            visible.causal,
            scale,
            dropout,
            statistics=penalty is not None,
            factor=factor,
            shift=shift,
            function=activation.functor,
        )
        if (kernel := activation.fused(query, visible, options)) is not None:
            fused = kernel(query, key, value, options)
            if penalty is None or fused.total is None or fused.logs is None:
                return MemoryOutput(fused.output)
            return MemoryOutput(fused.output, penalty(fused.total, fused.logs, count, rows))
    if factor is not None:
        query, scale = query * (factor * scale).to(query.dtype), 1.0
    scores = _scores(query, key, visible, scale, bias)
    s = activation((scores + b).to(scores.dtype) if shifted else scores)
    if activation.normalised and (some := visible.some()) is not None:
        s = s * some
    loss = None
    if penalty is not None:
        total, logs = RowSums.apply(s)
        loss = penalty(total, logs, count, rows)
    output = _mix(drop(s, dropout), value)
    return MemoryOutput(output, loss, _observation(query, key, value, s, visible, rows, output) if observe else None)


def _observation(
    query: Tensor,
    key: Tensor | Slots,
    value: Tensor | Slots,
    weights: Tensor,
    visible: AttentionMask,
    rows: Tensor | None,
    output: Tensor,
) -> Observation:
    if rows is None:
        rows = torch.ones(query.size(0), query.size(-2), dtype=torch.bool, device=query.device)
    mask = rows[:, None, :, None] if weights.dim() == 4 else rows[:, :, None]
    if (seen := visible.mask(query.size(-2), query.device)) is not None:
        mask = mask & seen
    return Observation(query, _as_tensor(key), _as_tensor(value), weights, mask, rows, output)


def _as_tensor(slots: Tensor | Slots) -> Tensor:
    """Returns keys or values as a tensor; an observed learned memory passes tensors."""
    if isinstance(slots, SharedKVCache):
        return slots.seen()
    assert isinstance(slots, Tensor)
    return slots


def _scores(query: Tensor, key: Tensor | Slots, visible: AttentionMask, scale: float, bias: Tensor | None) -> Tensor:
    """Returns scale · q·Kᵀ with the mask added; neither scale nor mask costs an extra pass."""
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


def _mix(weights: Tensor, value: Tensor | Slots) -> Tensor:
    """Returns Σ weight · v."""
    if not isinstance(value, Tensor):
        return value.mix(weights)
    if value.dim() == 2 and worthwhile(weights, value):
        return linear(weights, value.T)
    return torch.matmul(weights, value)
