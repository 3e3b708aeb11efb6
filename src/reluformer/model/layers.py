"""Encoder and decoder layers: memories in residual connections.

Shapes: B batch, L tokens, H heads, K slots, D head width, E model width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from reluformer.config.model import ModelConfig
from reluformer.memory.mask import AttentionMask
from reluformer.memory.modules import Cache, CrossAttention, LearnedMemory, Memory, SelfAttention
from reluformer.memory.read import Observation
from reluformer.ops.dropout import drop

Observer = Callable[[str, Observation], None]
"""Called with the name of a place and what was read there."""


class Residual(nn.Module):
    """A memory in its place: x + dropout(memory(x)), LayerNorm after the sum (`post`) or before the memory (`pre`)."""

    def __init__(self, place: str, memory: Memory, width: int, norm: Literal["post", "pre"], dropout: float) -> None:
        super().__init__()
        self.place = place
        self.memory = memory
        self.norm = nn.LayerNorm(width)
        self.pre = norm == "pre"
        self.dropout = dropout
        self.observer: Observer | None = None

    def forward(self, x: Tensor, rows: Tensor | None, penalise: bool, **reading: Any) -> tuple[Tensor, Tensor | None]:
        """x [B, L, E] -> ([B, L, E], the penalty's scalar or none); rows: bool [B, L], false on padding."""
        recalled = self.memory(
            self.norm(x) if self.pre else x,
            rows=rows,
            penalise=penalise,
            observe=self.observer is not None,
            **reading,
        )
        if self.observer is not None:
            self.observer(self.place, recalled.observation._replace(output=recalled.output, residual=x))
        x = drop(recalled.output, self.dropout if self.training else 0.0, x)
        return x if self.pre else self.norm(x), recalled.penalty


class EncoderLayer(nn.Module):
    """Self-attention, then the FFN."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.attention = self_attention(config, f"encoder.{index}.attention")
        self.ffn = ffn(config, f"encoder.{index}.ffn")

    def forward(
        self, x: Tensor, visible: AttentionMask, rows: Tensor | None = None, penalise: bool = False
    ) -> tuple[Tensor, list[Tensor | None]]:
        """x [B, S, E] -> ([B, S, E], the penalties of its memories)."""
        x, first = self.attention(x, rows, penalise, visible=visible)
        x, second = self.ffn(x, rows, penalise)
        return x, [first, second]


class DecoderLayer(nn.Module):
    """Self-attention, attention to the source, then the FFN."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        place = f"decoder.{index}.cross_attention"
        self.attention = self_attention(config, f"decoder.{index}.attention")
        cross = CrossAttention(
            config.memory(place), config.width, config.heads, config.attention_bias, config.attention_dropout
        )
        self.cross_attention = residual(config, place, cross)
        self.ffn = ffn(config, f"decoder.{index}.ffn")

    def forward(
        self,
        x: Tensor,
        visible: AttentionMask,
        source: Tensor | tuple[Tensor, Tensor],
        source_visible: AttentionMask,
        rows: Tensor | None = None,
        penalise: bool = False,
        cache: Cache | None = None,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """x [B, T, E] -> ([B, T, E], the penalties of its memories).

        source: the encoded source [B, S, E], or its `source_slots`; cache: see `SelfAttention.forward`.
        """
        x, first = self.attention(x, rows, penalise, visible=visible, cache=cache)
        x, second = self.cross_attention(x, rows, penalise, source=source, visible=source_visible)
        x, third = self.ffn(x, rows, penalise)
        return x, [first, second, third]

    def source_slots(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D] that this layer's cross-attention reads, of the encoded source [B, S, E]."""
        cross = self.cross_attention.memory
        assert isinstance(cross, CrossAttention)
        return cross.slots(source)


def residual(config: ModelConfig, place: str, memory: Memory) -> Residual:
    """The memory in its residual connection."""
    return Residual(place, memory, config.width, config.norm, config.dropout)


def self_attention(config: ModelConfig, place: str) -> Residual:
    """The self-attention of one place."""
    memory = config.memory(place)
    attention = SelfAttention(memory, config.width, config.heads, config.attention_bias, config.attention_dropout)
    return residual(config, place, attention)


def ffn(config: ModelConfig, place: str) -> Residual:
    """The FFN of one place."""
    memory = config.memory(place)
    learned = LearnedMemory(memory, config.width, config.slots, config.ffn_bias)
    return residual(config, place, learned)
