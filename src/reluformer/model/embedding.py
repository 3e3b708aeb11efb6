"""Token embeddings with sinusoidal positions, and the matrices that the vocabulary projection may share.

Shapes: B batch, L tokens, E model width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from reluformer.ops.linear import ConstantProduct

PAD = 0


def sinusoids(length: int, width: int) -> Tensor:
    """Returns positions 0 .. length-1 as [length, width] in fp32: sines, then cosines, as in fairseq."""
    half = width // 2
    steps = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000) / max(half - 1, 1)))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * steps
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(table, (0, width - 2 * half))


class Embeddings(nn.Module):
    """Source, target and output embeddings, from N(0, 1/E) with a zero row for padding; shared matrices exist once.

    share: `none` keeps three matrices, `decoder` ties target and output, `all` ties all three.
    """

    def __init__(self, vocabulary: int, width: int, share: Literal["none", "decoder", "all"]) -> None:
        super().__init__()
        self.width = width
        self.target = nn.Parameter(self._start(vocabulary))
        self.source = None if share == "all" else nn.Parameter(self._start(vocabulary))
        self.output = nn.Parameter(self._start(vocabulary)) if share == "none" else None
        self.packed: nn.Module | None = None
        self._exact = torch.empty(0, width)
        self._positions = self._exact

    def embed_source(self, tokens: Tensor) -> Tensor:
        """Embeds tokens int [B, L] -> [B, L, E]."""
        return self._embed(tokens, self.target if self.source is None else self.source, 0)

    def embed_target(self, tokens: Tensor, first: int | Tensor = 0) -> Tensor:
        """Embeds tokens int [B, L] -> [B, L, E]; first: the first position, or all position vectors [L, E]."""
        return self._embed(tokens, self.target, first)

    def positions(self, length: int) -> Tensor:
        """Returns the vectors [length, E] of the first positions, cached, in the weights' dtype and on their device."""
        exact, positions, like = self._exact, self._positions, self.target  # local: other threads may replace them
        if length > exact.size(0):
            self._exact = exact = sinusoids(max(length, 2 * exact.size(0), 256), self.width)
        if length > positions.size(0) or positions.dtype != like.dtype or positions.device != like.device:
            self._positions = positions = exact.to(like)
        return positions[:length]

    def project(self, hidden: Tensor) -> Tensor:
        """Projects hidden [..., E] -> logits [..., V]."""
        return linear(hidden, self.output_weight) if self.packed is None else self.packed(hidden)

    def pack(self, product: ConstantProduct) -> None:
        """Projects with a packed copy of the output matrix from now on; for inference."""
        self.packed = product(self.output_weight)

    @property
    def output_weight(self) -> Tensor:
        """The matrix of the vocabulary projection, [V, E]."""
        return self.target if self.output is None else self.output

    def _embed(self, tokens: Tensor, weight: Tensor, first: int | Tensor) -> Tensor:
        vectors = embedding(tokens, weight, padding_idx=PAD)
        places = first if isinstance(first, Tensor) else self.positions(first + tokens.size(1))[first:]
        return torch.add(places, vectors, alpha=math.sqrt(self.width))

    def _start(self, vocabulary: int) -> Tensor:
        weight = torch.randn(vocabulary, self.width) * self.width**-0.5
        weight[PAD] = 0
        return weight
