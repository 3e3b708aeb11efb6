"""Splits a joint projection into heads as views, and joins their gradients without a copy if they are adjacent.

A kernel that writes the gradients of query, key and value in the layout of the projection has thereby written the
projection's gradient; joining three separate tensors would copy all of them.

Shapes: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def split_heads(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """Splits [B, L, parts·H·D] into `parts` views [B, H, L, D]."""
    if x.device.type == "cpu" and x.requires_grad and torch.is_grad_enabled():
        return _Split.apply(x, heads, parts)
    return _views(x, heads, parts)


def join_heads(parts: Sequence[Tensor]) -> Tensor:
    """Joins parts [B, H, L, D] -> [B, L, parts·H·D]; a view if they are adjacent in memory."""
    batch, heads, length, width = parts[0].shape
    joint = (batch, length, len(parts) * heads * width)
    if side_by_side(parts) and parts[0].stride(2) == joint[2]:
        return parts[0].as_strided(joint, (length * joint[2], joint[2], 1))
    return torch.stack([part.transpose(1, 2) for part in parts], 2).view(joint)


def empty_like_heads(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Allocates tensors [B, H, L, D] of the same shapes, adjacent in memory if `tensors` are."""
    if len(tensors) == 1 or side_by_side(tensors):
        batch, heads, length, width = tensors[0].shape
        joint = tensors[0].new_empty(batch, length, len(tensors) * heads * width)
        return _views(joint, heads, len(tensors))
    return (*empty_like_heads(tensors[:1]), *empty_like_heads(tensors[1:]))


def side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Returns whether, for every token, each tensor [B, H, L, D] begins where the heads of the previous one end."""
    first = tensors[0]
    _, heads, length, width = first.shape
    strides = (length * first.stride(2), width, first.stride(2), 1)
    return all(
        other.shape == first.shape
        and other.stride() == strides
        and other.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and other.storage_offset() == first.storage_offset() + part * heads * width
        for part, other in enumerate(tensors)
    )


def _views(x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    batch, length, width = x.shape
    joint = x.view(batch, length, parts, heads, width // (parts * heads))
    return tuple(part.transpose(1, 2) for part in joint.unbind(2))


class _Split(torch.autograd.Function):
    """`split_heads` with the gradient of `join_heads`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
        return _views(x, heads, parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return join_heads(grads), None, None
