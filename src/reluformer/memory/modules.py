"""Memory modules: learned slots (the FFN), the sequence's own (self-attention), another sequence's (cross-attention).

Shapes: B batch, H heads, L or Q tokens, K slots, D head width, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reluformer.config.memory import MemoryConfig
from reluformer.memory.activations import Softmax, build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import MemoryOutput, Slots, read
from reluformer.ops.heads import split_heads
from reluformer.ops.linear import ConstantProduct, Linear

Cache = Callable[[Tensor, Tensor], tuple[Tensor | Slots, Tensor | Slots]]
"""Stores the keys and values [B, H, Q, D] of the newest token of Q hypotheses; returns all that these see."""


class GatedRMSNorm(nn.Module):
    """scale · x / rms(x) · sigmoid(gate · x) over the model dimension (Zhang, Titov and Sennrich 2021, ReLA-g).

    Initialised as the authors do (bzhangGo/zero: modules/rela.py, initializer "uniform_unit_scaling" with gain 1): the
    scale is 1, the gate U(±√(3/E)), ±0.077 at E = 512, so that every gate is nearly half open at the start. Statistics
    are in fp32 or more; an all-zero x stays zero.
    """

    def __init__(self, width: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(width))
        self.gate = nn.Parameter(torch.empty(width).uniform_(-1, 1) * math.sqrt(3 / width))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalised and gated x [..., E], of the same shape and dtype."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return self.scale * normed * torch.sigmoid(self.gate * x)


class Memory(nn.Module):
    """Base class of all memories: the activation, the norm or gate after the read, the penalty."""

    def __init__(self, config: MemoryConfig, width: int, heads: int) -> None:
        super().__init__()
        self.activation = build_activation(config, heads)
        self.layernorm = nn.LayerNorm(width) if config.output_norm == "layernorm" else None
        self.head_norm: nn.Module | None = None
        if config.output_norm in ("rmsnorm", "gated-rmsnorm"):
            self.head_norm = nn.RMSNorm(width, 1e-8) if config.output_norm == "rmsnorm" else GatedRMSNorm(width)
        self.gate = nn.Linear(width, heads) if config.output_gate else None
        self.penalty = Penalty(config.penalty) if config.penalty and config.penalty.weight > 0 else None


class LearnedMemory(Memory):
    """The FFN: H = f(X·Kᵀ)·V with learned K, V [slots, E]; no 1/√d, by default no biases.

    K and V start Xavier-uniform for every f, so that systems differ in f alone.
    """

    def __init__(self, config: MemoryConfig, width: int, slots: int, bias: bool = False) -> None:
        super().__init__(config, width, 1)
        self.key = nn.Parameter(torch.empty(slots, width))
        self.value = nn.Parameter(torch.empty(slots, width))
        self.key_bias = nn.Parameter(torch.zeros(slots)) if bias else None
        self.value_bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.xavier_uniform_(self.key)
        nn.init.xavier_uniform_(self.value)
        self.visible = AttentionMask(slots)
        self.packed: tuple[Slots, Slots] | None = None

    def pack(self, product: ConstantProduct) -> None:
        """Reads packed copies of keys and values from now on; for inference."""
        self.packed = product(self.key, self.key_bias), product(self.value.T)

    def forward(
        self, x: Tensor, rows: Tensor | None = None, penalise: bool = False, observe: bool = False
    ) -> MemoryOutput:
        """Reads for x [B, L, E]; rows: bool [B, L], false on padding, which the penalty ignores."""
        key, value = (self.key, self.value) if self.packed is None or observe else self.packed
        result = read(
            x,
            key,
            value,
            self.activation,
            self.visible,
            bias=self.key_bias,
            penalty=self.penalty if penalise else None,
            rows=rows,
            observe=observe,
        )
        output = result.output if self.value_bias is None else result.output + self.value_bias
        if self.gate is not None:
            output = output * self.gate(x).sigmoid()
        if self.head_norm is not None:
            output = self.head_norm(output)
        if self.layernorm is not None:
            output = self.layernorm(output)
        return result._replace(output=output)


class SequenceMemory(Memory):
    """Attention: H reads of the slots of a sequence with scale 1/√D, concatenated and projected.

    The gate (Qiu et al. 2025, "Gated Attention for Large Language Models": head-wise) and RMSNorms stand between the
    heads and the output projection, a LayerNorm after the projection. `query_key_norm` (Dehghani et al. 2023) takes the
    RMSNorm of each head's queries and keys, with a gain for each of the D elements. During annealing, the weights are
    (1 − share) · f(scores) + share · softmax(scores); each term has its own dropout, and the penalty applies to f.

    dropout: probability, on the weights.
    """

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads)
        self.heads = heads
        self.dropout = dropout
        self.scale = 1 / math.sqrt(width // heads)
        self.query_norm = nn.RMSNorm(width // heads, 1e-6) if config.query_key_norm else None
        self.key_norm = nn.RMSNorm(width // heads, 1e-6) if config.query_key_norm else None
        self.anneal_from_softmax = config.anneal_from_softmax
        self.softmax = Softmax()
        self.annealing = False
        self.softmax_share: Tensor
        self.register_buffer("softmax_share", torch.zeros(()), persistent=False)
        self.output = Linear(width, width, bias=bias)
        nn.init.xavier_uniform_(self.output.weight)
        if bias:
            nn.init.zeros_(self.output.bias)

    def project(self, x: Tensor, *slots: Any, **named: Any) -> tuple[Tensor, Tensor | Slots, Tensor | Slots]:
        """Returns query [B, H, Q, D], and key and value, [B, H, K, D] or `Slots` of a search."""
        raise NotImplementedError

    def anneal(self, done: float) -> None:
        """Sets the share of softmax in the next update; done: the fraction of the training's updates completed."""
        share = max(0.0, 1 - done / self.anneal_from_softmax) if self.anneal_from_softmax else 0.0
        if share or self.annealing:
            self.annealing = share > 0
            self.softmax_share.fill_(share)

    def forward(
        self,
        x: Tensor,
        visible: AttentionMask,
        rows: Tensor | None = None,
        penalise: bool = False,
        observe: bool = False,
        **slots: Any,
    ) -> MemoryOutput:
        """Reads for x [B, Q, E]; rows: bool [B, Q], false on padding; slots: see `project`."""
        query, key, value = self.project(x, **slots)
        dropout = self.dropout if self.training else 0.0
        result = read(
            query,
            key,
            value,
            self.activation,
            visible,
            scale=self.scale,
            dropout=dropout,
            penalty=self.penalty if penalise else None,
            rows=rows,
            observe=observe,
        )
        output = result.output
        if self.annealing:
            other = read(query, key, value, self.softmax, visible, scale=self.scale, dropout=dropout).output
            output = output + self.softmax_share * (other - output)
        output = output.transpose(1, 2)  # [B, H, Q, D] -> [B, Q, H, D]
        if self.gate is not None:
            output = output * self.gate(x).sigmoid()[..., None]
        output = output.flatten(2)
        if self.head_norm is not None:
            output = self.head_norm(output)
        output = self.output(output)
        if self.layernorm is not None:
            output = self.layernorm(output)
        return result._replace(output=output)


class SelfAttention(SequenceMemory):
    """Self-attention: a sequence reads itself."""

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads, bias, dropout)
        self.query_key_value = joint_linear(width, 3, bias)

    def project(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor | Slots, Tensor | Slots]:
        """Projects x; with a cache, x is the newest token of Q hypotheses, each of which sees its own earlier ones."""
        query, key, value = split_heads(self.query_key_value(x), self.heads, 3)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        return (query, key, value) if cache is None else (query, *cache(key, value))


class CrossAttention(SequenceMemory):
    """Cross-attention: the target reads the encoded source."""

    def __init__(self, config: MemoryConfig, width: int, heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(config, width, heads, bias, dropout)
        self.query = joint_linear(width, 1, bias)
        self.key_value = joint_linear(width, 2, bias)

    def slots(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys and values [B, H, K, D] of the encoded source [B, K, E], which all target tokens share."""
        key, value = split_heads(self.key_value(source), self.heads, 2)
        return key if self.key_norm is None else self.key_norm(key), value

    def project(self, x: Tensor, source: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Projects x and the source, which is [B, K, E] or its `slots`."""
        key, value = source if isinstance(source, tuple) else self.slots(source)
        (query,) = split_heads(self.query(x), self.heads, 1)
        return query if self.query_norm is None else self.query_norm(query), key, value


def joint_linear(width: int, parts: int, bias: bool) -> Linear:
    """Returns `parts` projections E -> E as one layer; each Xavier-uniform with gain 1/√2 as in fairseq, biases 0."""
    joint = Linear(width, parts * width, bias=bias)
    for part in joint.weight.data.chunk(parts):
        nn.init.xavier_uniform_(part, gain=2**-0.5)
    if bias:
        nn.init.zeros_(joint.bias)
    return joint
