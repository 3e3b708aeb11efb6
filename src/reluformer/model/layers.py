"""A layer of the encoder or decoder: memories in residual connections, and who observes their reads.

Shapes: B batch, L tokens, H heads, K slots, D head width, E model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn

from reluformer.config.model import ModelConfig
from reluformer.memory.mask import AttentionMask
from reluformer.memory.modules import Cache, CrossAttention, LearnedMemory, Memory, SelfAttention
from reluformer.memory.read import Observation
from reluformer.ops.dropout import drop

Observer = Callable[[str, Observation], None]
"""Called with the name of a place and the read there."""


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

    def forward(self, x: Tensor, rows: Tensor | None, penalise: bool, **memory: Any) -> tuple[Tensor, Tensor | None]:
        """x [B, L, E] -> ([B, L, E], the penalty's scalar or None); rows: bool [B, L], false on padding.

        memory: what the memory takes beside these.
        """
        observe = self.observer is not None
        result = self.memory(self.norm(x) if self.pre else x, rows=rows, penalise=penalise, observe=observe, **memory)
        if self.observer is not None:
            self.observer(self.place, result.observation._replace(output=result.output, residual=x))
        x = drop(result.output, self.dropout if self.training else 0.0, x)
        return x if self.pre else self.norm(x), result.penalty


class Layer(nn.Module):
    """Self-attention, in a decoder attention to the source, then the FFN."""

    def __init__(self, config: ModelConfig, side: Literal["encoder", "decoder"], index: int) -> None:
        super().__init__()

        def residual(name: str, memory: Callable[..., Memory], *arguments: Any) -> Residual:
            place = f"{side}.{index}.{name}"
            built = memory(config.memory(place), config.width, *arguments)
            return Residual(place, built, config.width, config.norm, config.dropout)

        attention = config.heads, config.attention_bias, config.attention_dropout
        self.attention = residual("attention", SelfAttention, *attention)
        decoder = side == "decoder"
        self.cross_attention = residual("cross_attention", CrossAttention, *attention) if decoder else None
        self.ffn = residual("ffn", LearnedMemory, config.slots, config.ffn_bias)

    def forward(
        self,
        x: Tensor,
        visible: AttentionMask,
        source: Tensor | tuple[Tensor, Tensor] | None = None,
        source_visible: AttentionMask | None = None,
        rows: Tensor | None = None,
        penalise: bool = False,
        cache: Cache | None = None,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """x [B, L, E] -> ([B, L, E], the penalties of its memories).

        Args:
            visible, source_visible: the slots that self-attention and a decoder's attention to the source may see.
            source: a decoder's encoded source [B, S, E], or its `source_slots`.
            rows: bool [B, L], false on padding.
            cache: see `SelfAttention.project`.
        """
        x, penalty = self.attention(x, rows, penalise, visible=visible, cache=cache)
        penalties = [penalty]
        if self.cross_attention is not None:
            x, penalty = self.cross_attention(x, rows, penalise, visible=source_visible, source=source)
            penalties.append(penalty)
        x, penalty = self.ffn(x, rows, penalise)
        return x, [*penalties, penalty]

    def source_slots(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys and values [B, H, S, D] for attention to the encoded source [B, S, E]."""
        assert self.cross_attention is not None and isinstance(self.cross_attention.memory, CrossAttention)
        return self.cross_attention.memory.slots(source)


@contextmanager
def observe(model: nn.Module, callback: Observer) -> Iterator[None]:
    """Calls `callback(place, observation)` for every read of every memory, in training, evaluation and decoding.

    place: `encoder.0.attention`, `encoder.0.ffn`, `decoder.0.attention`, `decoder.0.cross_attention`, `decoder.0.ffn`
    and so on. Tensors keep their autograd graph where gradients are on. Layers are not recomputed meanwhile, whatever
    `checkpoint_activations` says. Observers nest: the inner one replaces the outer one until it ends.
    """
    places = [module for module in model.modules() if isinstance(module, Residual)]
    outer = [place.observer for place in places]
    for place in places:
        place.observer = callback
    try:
        yield
    finally:
        for place, observer in zip(places, outer, strict=True):
            place.observer = observer
