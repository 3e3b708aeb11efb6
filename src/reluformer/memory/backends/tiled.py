"""Attention with weights f(score) in plain torch, a tile of weights at a time, in any floating dtype and on any device.

A tile has some rows and as many heads as fit in a CPU's cache; the backward pass recomputes its weights. Slots that
causality hides from all rows of a tile are skipped.

Shapes: N = B·H heads of the batch, Q rows, K slots, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reluformer.memory.backends import FUNCTORS, AttentionOptions, FusedRead, prepare
from reluformer.ops.dropout import dropout_factors

ROWS = 256
ELEMENTS = {True: 1 << 19, False: 1 << 25}
"""Number of weights in a tile: on a CPU (True) 2 MiB of fp32."""


class Tile(NamedTuple):
    """A range of heads, a range of rows, and the slots that any of these rows sees."""

    heads: slice
    rows: slice
    slots: slice
    weights: Tensor
    factors: Tensor | None


class TiledReLU(torch.autograd.Function):
    """(output, total, logs) of query [N, Q, D], key and value [N, K, D]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        output = torch.zeros_like(query)
        total = logs = None
        if options.statistics:
            wide = torch.promote_types(query.dtype, torch.float32)
            total, logs = (torch.zeros(query.shape[:2], dtype=wide, device=query.device) for _ in range(2))
        for tile in _tiles(query, key, options):
            if total is not None and logs is not None:
                s = tile.weights.to(total.dtype)
                total[tile.heads, tile.rows] = s.sum(-1)
                logs[tile.heads, tile.rows] = torch.special.entr(s).sum(-1).neg_()
            s = tile.weights if tile.factors is None else tile.weights.mul_(tile.factors)
            output[tile.heads, tile.rows] = s @ value[tile.heads, tile.slots]
        ctx.save_for_backward(query, key, value)
        ctx.options = options
        return output, total, logs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_total: Tensor | None, grad_logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        wide = torch.promote_types(query.dtype, torch.float32)
        query_grad = torch.zeros_like(query)
        key_grad, value_grad = (torch.zeros_like(x, dtype=wide) for x in (key, value))
        for tile in _tiles(query, key, ctx.options):
            s, at = tile.weights, (tile.heads, tile.rows)
            used = s if tile.factors is None else s * tile.factors
            value_grad[tile.heads, tile.slots] += used.mT @ grad[at]
            slope = grad[at] @ value[tile.heads, tile.slots].mT
            if tile.factors is not None:
                slope.mul_(tile.factors)
            if grad_total is not None and grad_logs is not None:
                log = s.to(wide).clamp(min=torch.finfo(wide).tiny).log_().add_(1)
                slope = log.mul_(grad_logs[at][..., None]).add_(grad_total[at][..., None]).add_(slope).to(s.dtype)
            slope.mul_(FUNCTORS[ctx.options.function].slope(s))
            query_grad[at] = (slope @ key[tile.heads, tile.slots]).mul_(ctx.options.scale)
            key_grad[tile.heads, tile.slots] += slope.mT @ (query[at] * ctx.options.scale)
        return query_grad, key_grad.to(key.dtype), value_grad.to(value.dtype), None


def _tiles(query: Tensor, key: Tensor, options: AttentionOptions) -> Iterator[Tile]:
    """Yields the tiles with their weights before dropout and dropout's factors."""
    (heads, rows, _), slots = query.shape, key.size(1)
    step = max(1, min(rows, ROWS))
    group = max(1, ELEMENTS[query.device.type == "cpu"] // max(1, step * slots))
    for h in range(0, heads, group):
        some = slice(h, min(h + group, heads))
        mask = None if options.keys is None else options.keys[some, None]
        for i in range(0, rows, step):
            these = slice(i, min(i + step, rows))
            seen = slice(0, min(max(slots - rows + these.stop, 0), slots) if options.causal else slots)
            scores = (query[some, these] * options.scale) @ key[some, seen].mT
            if options.shift is not None:
                scores += options.shift[some, these]
            weights = FUNCTORS[options.function].weight(scores)
            if mask is not None:
                weights.masked_fill_(~mask[..., seen], 0)
            if options.causal:
                weights.tril_(slots - rows + i)
            factors = None
            if options.dropout > 0 and options.seed is not None:
                ids, places, columns = (
                    torch.arange(part.start, part.stop, device=query.device) for part in (some, these, seen)
                )
                factors = dropout_factors(options.seed, ids, places, columns, options.dropout).to(weights.dtype)
            yield Tile(some, these, seen, weights, factors)


def tiled_relu_attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    """Implements `FusedKernel`."""
    query, options = prepare(query, options)
    batch, heads = query.shape[:2]
    if options.keys is not None:
        options = options._replace(keys=options.keys.repeat_interleave(heads, 0))
    if options.shift is not None:
        shift = options.shift.to(query.dtype).expand(*query.shape[:3], 1)
        options = options._replace(shift=shift.flatten(0, 1))
    output, total, logs = TiledReLU.apply(*(x.flatten(0, 1) for x in (query, key, value)), options)
    if total is None:
        return FusedRead(output.view(query.shape))
    shape = (batch, heads, -1)
    return FusedRead(output.view(query.shape), total.view(shape), logs.view(shape))
