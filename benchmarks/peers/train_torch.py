"""Trains torch.nn.Transformer with embeddings and a tied output projection.

Attention has no dropout, as in the other peers, so that it stays in torch's fused kernel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from trainee import Batch, Trainee, smoothed


class Translator(nn.Module):
    """nn.Transformer with embeddings and an output projection."""

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        width, vocabulary, pad = shape["width"], shape["vocabulary"], shape["pad"]
        self.source = nn.Embedding(vocabulary, width, padding_idx=pad)
        self.target = nn.Embedding(vocabulary, width, padding_idx=pad)
        for embedding in (self.source, self.target):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        self.dropout = nn.Dropout(shape["dropout"])
        self.scale = math.sqrt(width)
        layers = shape["layers"]
        self.transformer = nn.Transformer(
            width, shape["heads"], layers, layers, shape["slots"], shape["dropout"], batch_first=True
        )
        self.transformer.encoder.norm = self.transformer.decoder.norm = None  # post-norm needs no last one
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout = nn.Identity()
        steps = torch.arange(2048)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
        self.register_buffer("positions", torch.cat([steps.sin(), steps.cos()], 1), persistent=False)

    def embed(self, tokens: Tensor, embedding: nn.Embedding) -> Tensor:
        """Embeds tokens [B, L] -> [B, L, E]."""
        return self.dropout(embedding(tokens) * self.scale + self.positions[: tokens.size(1)])

    def forward(self, batch: Batch) -> Tensor:
        """Returns logits [B, T, V]."""
        length = batch.tgt_in.size(1)
        causal = nn.Transformer.generate_square_subsequent_mask(length, device=batch.tgt_in.device)
        hidden = self.transformer(
            self.embed(batch.src, self.source),
            self.embed(batch.tgt_in, self.target),
            tgt_mask=causal,
            src_key_padding_mask=~batch.src_mask,
            memory_key_padding_mask=~batch.src_mask,
            tgt_is_causal=True,
        )
        return nn.functional.linear(hidden, self.target.weight)


def loss(module: nn.Module, batch: Batch) -> Tensor:
    """Returns the label-smoothed cross-entropy."""
    return smoothed(module(batch), batch)


Trainee(Translator, loss)
