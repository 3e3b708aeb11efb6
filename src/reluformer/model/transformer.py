"""The encoder-decoder Transformer in which every module reads a memory, and observers of these reads.

Shapes: B batch, S source tokens, T target tokens, L tokens of either side, H heads, D head width, E model width, V
vocabulary. Masks are true on real tokens; sequences are padded on the right with token 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reluformer.config.model import ModelConfig
from reluformer.config.settings import SettingsError
from reluformer.memory.mask import AttentionMask
from reluformer.memory.modules import Cache, CrossAttention, LearnedMemory, Memory, SelfAttention
from reluformer.memory.read import Observation
from reluformer.model.caches import DynamicCache, StaticCache
from reluformer.model.embedding import Embeddings
from reluformer.ops.dropout import drop

Observer = Callable[[str, Observation], None]
"""Called with the name of a memory's place and its read."""


class Residual(nn.Module):
    """A residual connection: x + dropout(memory(x)), LayerNorm after the sum (`post`) or before the memory (`pre`)."""

    def __init__(self, place: str, memory: Memory, width: int, norm: Literal["post", "pre"], dropout: float) -> None:
        super().__init__()
        self.place = place
        self.memory = memory
        self.norm = nn.LayerNorm(width)
        self.pre = norm == "pre"
        self.dropout = dropout
        self.observer: Observer | None = None

    def forward(self, x: Tensor, rows: Tensor | None, penalise: bool, **memory: Any) -> tuple[Tensor, Tensor | None]:
        """Returns ([B, L, E], the penalty as a scalar or None) for x [B, L, E]; rows: bool [B, L], false on padding.

        memory: further arguments of the memory.
        """
        observe = self.observer is not None
        result = self.memory(self.norm(x) if self.pre else x, rows=rows, penalise=penalise, observe=observe, **memory)
        if self.observer is not None:
            self.observer(self.place, result.observation._replace(output=result.output, residual=x))
        x = drop(result.output, self.dropout if self.training else 0.0, x)
        return x if self.pre else self.norm(x), result.penalty


class Layer(nn.Module):
    """Self-attention, cross-attention (in a decoder), FFN."""

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
        """Returns ([B, L, E], the penalties of the layer's memories) for x [B, L, E].

        Args:
            visible, source_visible: the slots that self-attention and cross-attention may see.
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
        """Returns keys and values [B, H, S, D] for cross-attention to the encoded source [B, S, E]."""
        assert self.cross_attention is not None and isinstance(self.cross_attention.memory, CrossAttention)
        return self.cross_attention.memory.slots(source)


class Transformer(nn.Module):
    """An encoder-decoder of memories (Vaswani et al. 2017), each read with its own activation.

    checkpoint_activations: recomputes each layer in the backward pass instead of storing it; same gradients.

    Raises `SettingsError` if the vocabulary's size is not known yet.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.vocabulary < 1:
            raise SettingsError("model: vocabulary: 0: the model needs the vocabulary's size")
        self.config = config
        self.checkpoint_activations = False
        self.embeddings = Embeddings(config.vocabulary, config.width, config.share_embeddings)
        self.encoder = nn.ModuleList(Layer(config, "encoder", i) for i in range(config.encoder_layers))
        self.decoder = nn.ModuleList(Layer(config, "decoder", i) for i in range(config.decoder_layers))
        pre = config.norm == "pre"
        self.encoder_norm = nn.LayerNorm(config.width) if pre else None
        self.decoder_norm = nn.LayerNorm(config.width) if pre else None
        self.penalised = any(place.memory.penalty is not None for place in self.places())

    def places(self) -> Iterator[Residual]:
        """Yields every memory in its residual connection; `place.place` is its name, `place.memory` the memory."""
        return (module for module in self.modules() if isinstance(module, Residual))

    def forward(self, src: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_mask: Tensor) -> Tensor:
        """Returns hidden states [B, T, E] before the vocabulary projection; tgt_in int [B, T], tgt_mask bool [B, T]."""
        return self.decode(self.encode(src, src_mask), src_mask, tgt_in, tgt_mask)

    def forward_with_penalty(
        self, src: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns `forward` and λ · Eq. 7 as a scalar: the mean or sum over memories with a penalty, 0 without any."""
        penalties: list[Tensor] | None = [] if self.penalised else None
        source = self.encode(src, src_mask, penalties)
        hidden = self.decode(source, src_mask, tgt_in, tgt_mask, penalties)
        if not penalties:
            return hidden, torch.zeros((), dtype=torch.float32, device=hidden.device)
        stacked = torch.stack(penalties)
        return hidden, stacked.sum() if self.config.penalty_reduction == "sum" else stacked.mean()

    def encode(self, src: Tensor, src_mask: Tensor, penalties: list[Tensor] | None = None) -> Tensor:
        """Encodes src int [B, S], src_mask bool [B, S] -> [B, S, E]; appends the memories' penalties to `penalties`."""
        visible = AttentionMask(src.size(1), src_mask)
        x = self._drop(self.embeddings.embed_source(src))
        for layer in self.encoder:
            x = self._run(layer, penalties, x, visible, None, None, src_mask)
        return x if self.encoder_norm is None else self.encoder_norm(x)

    def decode(
        self, source: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_mask: Tensor, penalties: list[Tensor] | None = None
    ) -> Tensor:
        """Runs `forward` from the encoded source [B, S, E] on; penalties: see `encode`."""
        # Padding is on the right, so causality alone hides it from every real row.
        visible, source_visible = AttentionMask(tgt_in.size(1), causal=True), AttentionMask(src_mask.size(1), src_mask)
        x = self._drop(self.embeddings.embed_target(tgt_in))
        for layer in self.decoder:
            x = self._run(layer, penalties, x, visible, source, source_visible, tgt_mask)
        return x if self.decoder_norm is None else self.decoder_norm(x)

    def project(self, hidden: Tensor) -> Tensor:
        """Projects hidden [..., E] -> logits [..., V]."""
        return self.embeddings.project(hidden)

    def start(self, src: Tensor, src_mask: Tensor) -> DynamicCache:
        """Encodes src [B, S] and starts incremental decoding; the first `step` takes the BOS tokens."""
        return DynamicCache(self._source_slots(src, src_mask), AttentionMask(src.size(1), src_mask))

    @property
    def static(self) -> bool:
        """Whether a CUDA graph can capture a step: every activation of the decoder is static and none is observed."""
        decoder = (place for place in self.places() if place.place.startswith("decoder."))
        return all(place.memory.activation.static and place.observer is None for place in decoder)

    def static_cache(self, sources: int, width: int, source_tokens: int, capacity: int) -> StaticCache:
        """Allocates a cache of fixed shapes, which `fill` can reuse any number of times.

        Args:
            sources: B, at most. width: W, rows of each. source_tokens: S, of the longest source.
            capacity: T, tokens of the longest target, BOS included.
        """
        table, config = self.embeddings.positions(capacity), self.config
        heads = (config.heads, config.width // config.heads)
        return StaticCache.empty(table, config.decoder_layers, sources, width, source_tokens, heads)

    def fill(self, cache: StaticCache, src: Tensor, src_mask: Tensor) -> None:
        """Encodes src [B' <= B, S' <= S] into a static cache; the first `step` takes the BOS tokens."""
        cache.fill(self._source_slots(src, src_mask), src_mask)

    def step(self, tokens: Tensor, cache: DynamicCache | StaticCache) -> Tensor:
        """Appends a token to each row, int [R]; returns the logits [R, V] of the next one."""
        cache.advance()
        seen, source_seen = cache.seen, cache.visible
        x = self.embeddings.embed_target(tokens[:, None], cache.first).view(cache.sources, cache.width, -1)
        for i, layer in enumerate(self.decoder):
            x, _ = layer(x, seen, cache.source_slots(i), source_seen, cache=partial(cache.extend, i))
        if self.decoder_norm is not None:
            x = self.decoder_norm(x)
        return self.project(x.flatten(0, 1))

    def _run(self, layer: Any, penalties: list[Tensor] | None, x: Tensor, *seen: Any) -> Tensor:
        """Runs one layer, recomputed in the backward pass if so configured, and adds its penalties to the list."""
        arguments = (x, *seen, penalties is not None)
        observed = layer.attention.observer is not None  # recomputation would report every read twice
        if self.checkpoint_activations and torch.is_grad_enabled() and not observed:
            x, terms = checkpoint(layer, *arguments, use_reentrant=False)
        else:
            x, terms = layer(*arguments)
        if penalties is not None:
            penalties += [term for term in terms if term is not None]
        return x

    def _drop(self, x: Tensor) -> Tensor:
        return drop(x, self.config.dropout if self.training else 0.0)

    def _source_slots(self, src: Tensor, src_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Encodes src; returns keys and values [B, H, S, D] of each decoder layer."""
        source = self.encode(src, src_mask)
        return [layer.source_slots(source) for layer in self.decoder if isinstance(layer, Layer)]


@contextmanager
def observe(model: Transformer, callback: Observer) -> Iterator[None]:
    """Calls `callback(place, observation)` for every read of every memory, in training, evaluation and decoding.

    place: `encoder.0.attention`, `encoder.0.ffn`, `decoder.0.attention`, `decoder.0.cross_attention`, `decoder.0.ffn`
    and so on. Tensors keep their autograd graph if gradients are enabled. Layers are not recomputed meanwhile,
    regardless of `checkpoint_activations`. Observers nest: the inner one replaces the outer one until it exits.
    """
    places = list(model.places())
    outer = [place.observer for place in places]
    for place in places:
        place.observer = callback
    try:
        yield
    finally:
        for place, observer in zip(places, outer, strict=True):
            place.observer = observer
