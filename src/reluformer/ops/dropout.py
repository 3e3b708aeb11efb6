"""Dropout that does not cost as much as a small layer on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from reluformer.ops.dropout_kernel import Dropout, can_drop

LEVELS = 1 << 16


def drop(x: Tensor, probability: float, added: Tensor | None = None) -> Tensor:
    """x with each element zeroed with `probability`, the others divided by what is left of 1; any shape.

    added: of the same shape, what the result is added to, or none.
    """
    if probability > 0.0:
        if can_drop(x, added):
            return Dropout.apply(x, added, probability)
        x = dropout(x, probability) if x.device.type != "cpu" else _in_torch(x, probability)
    return x if added is None else added + x


def _in_torch(x: Tensor, probability: float) -> Tensor:
    """torch draws one number an element on a CPU, which takes longer than the rest of a residual connection.

    Here one 64-bit draw of the same generator serves four elements, and the probability is rounded to a multiple of
    2^-16.
    """
    dropped = round(probability * LEVELS)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
