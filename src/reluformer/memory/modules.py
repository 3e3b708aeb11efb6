"""Memories as modules: learned slots (the FFN), the sequence's own slots (self-attention), another's (cross-attention).

Shapes: B batch, H heads, L or Q tokens, K slots, D head width, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reluformer.config.memory import MemoryConfig
from reluformer.memory.activations import build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.output_norm import GatedRMSNorm
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import MemoryOutput, Slots, read
from reluformer.ops.heads import split_heads
from reluformer.ops.linear import LearnedSlots, Linear, worthwhile
from reluformer.ops.packed import Packed

Cache = Callable[[Tensor, Tensor], tuple[Tensor | Slots, Tensor | Slots]]


class Memory(nn.Module):
    """What all memories share: the activation, what follows the read, the penalty, dropout on the weights."""

    def __init__(self, config: MemoryConfig, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.activation = build_activation(config, heads)
        self.layernorm = nn.LayerNorm(width) if config.output_norm == "layernorm" else None
        self.gated_norm = GatedRMSNorm(width) if config.output_norm == "gated-rmsnorm" else None
        self.penalty = Penalty(config.penalty) if config.penalty and config.penalty.weight > 0 else None
        self.weight_dropout = dropout


class LearnedMemory(Memory):
    """The FFN: H = f(X·Kᵀ)·V with learned K, V [slots, E]; no 1/√d; biases only if asked for.

    K and V start Xavier-uniform for every f, so that systems differ in f alone.
    """

    def __init__(self, config: MemoryConfig, width: int, slots: int, bias: bool = False, dropout: float = 0.0) -> None:
        super().__init__(config, width, 1, dropout)
        self.key = nn.Parameter(torch.empty(slots, width))
        self.value = nn.Parameter(torch.empty(slots, width))
        self.key_bias = nn.Parameter(torch.zeros(slots)) if bias else None
        self.value_bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.xavier_uniform_(self.key)
        nn.init.xavier_uniform_(self.value)
        self.visible = AttentionMask(slots)
        self.packed: tuple[Packed, Packed] | None = None

    def pack(self) -> None:
        """Keeps packed copies of keys and values, and reads those; for inference."""
        self.packed = Packed(self.key, self.key_bias), Packed(self.value.T)

    def forward(
        self, x: Tensor, rows: Tensor | None = None, penalise: bool = False, observe: bool = False
    ) -> MemoryOutput:
        """x [B, L, E]; rows: bool [B, L], false on padding, which the penalty leaves out."""
        key: Tensor | Slots = self.key
        value: Tensor | Slots = self.value
        if self.packed is not None and not observe:
            key, value = self.packed
        elif worthwhile(x, self.key) and not observe:
            key, value = LearnedSlots(self.key, self.key_bias), LearnedSlots(self.value)
        recalled = read(
            x,
            key,
            value,
            self.activation,
            self.visible,
            bias=self.key_bias,
            dropout=self.weight_dropout if self.training else 0.0,
            penalty=self.penalty if penalise else None,
            rows=rows,
            observe=observe,
        )
        output = recalled.output if self.value_bias is None else recalled.output + self.value_bias
        if self.gated_norm is not None:
            output = self.gated_norm(output)
        if self.layernorm is not None:
            output = self.layernorm(output)
        return recalled._replace(output=output)


class SequenceMemory(Memory):
    """Attention: H reads of the slots of a sequence with scale 1/√D, concatenated and projected.

    A gated RMSNorm stands between the heads and the output projection, a LayerNorm after the projection.
    """

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads, dropout)
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.output = Linear(width, width, bias=bias)
        nn.init.xavier_uniform_(self.output.weight)
        if bias:
            nn.init.zeros_(self.output.bias)

    def _attend(
        self,
        query: Tensor,
        key: Tensor | Slots,
        value: Tensor | Slots,
        visible: AttentionMask,
        rows: Tensor | None,
        penalise: bool,
        observe: bool,
    ) -> MemoryOutput:
        """query [B, H, Q, D], key and value [B, H, K, D], or a search's -> output [B, Q, E]."""
        recalled = read(
            query,
            key,
            value,
            self.activation,
            visible,
            scale=self.scale,
            dropout=self.weight_dropout if self.training else 0.0,
            penalty=self.penalty if penalise else None,
            rows=rows,
            observe=observe,
        )
        joined = recalled.output.transpose(1, 2).flatten(2)  # [B, H, Q, D] -> [B, Q, E]
        if self.gated_norm is not None:
            joined = self.gated_norm(joined)
        output = self.output(joined)
        if self.layernorm is not None:
            output = self.layernorm(output)
        return recalled._replace(output=output)


class SelfAttention(SequenceMemory):
    """A sequence reads itself."""

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads, bias, dropout)
        self.query_key_value = joint_linear(width, 3, bias)

    def forward(
        self,
        x: Tensor,
        visible: AttentionMask,
        rows: Tensor | None = None,
        penalise: bool = False,
        observe: bool = False,
        cache: Cache | None = None,
    ) -> MemoryOutput:
        """x [B, Q, E]; rows: bool [B, Q], false on padding.

        cache: x is the newest token of Q hypotheses, each of which sees its own earlier ones: takes the keys and values
        [B, H, Q, D] of x and gives all that the rows see.
        """
        query, key, value = split_heads(self.query_key_value(x), self.heads, 3)
        if cache is not None:
            return self._attend(query, *cache(key, value), visible, rows, penalise, observe)
        return self._attend(query, key, value, visible, rows, penalise, observe)


class CrossAttention(SequenceMemory):
    """The target reads the encoded source."""

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads, bias, dropout)
        self.query = joint_linear(width, 1, bias)
        self.key_value = joint_linear(width, 2, bias)

    def slots(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, K, D] of the encoded source [B, K, E]; the same for every target token."""
        key, value = split_heads(self.key_value(source), self.heads, 2)
        return key, value

    def forward(
        self,
        x: Tensor,
        source: Tensor | tuple[Tensor, Tensor],
        visible: AttentionMask,
        rows: Tensor | None = None,
        penalise: bool = False,
        observe: bool = False,
    ) -> MemoryOutput:
        """x [B, Q, E]; source: [B, K, E], or its `slots`; rows: bool [B, Q], false on padding."""
        key, value = source if isinstance(source, tuple) else self.slots(source)
        (query,) = split_heads(self.query(x), self.heads, 1)
        return self._attend(query, key, value, visible, rows, penalise, observe)


def joint_linear(width: int, parts: int, bias: bool) -> Linear:
    """`parts` projections E -> E as one; each Xavier-uniform with gain 1/√2 as in fairseq, biases 0."""
    joint = Linear(width, parts * width, bias=bias)
    for part in joint.weight.data.chunk(parts):
        nn.init.xavier_uniform_(part, gain=2**-0.5)
    if bias:
        nn.init.zeros_(joint.bias)
    return joint
