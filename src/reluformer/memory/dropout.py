"""Dropout that does not cost as much as a small layer on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

LEVELS = 1 << 16


def drop(x: Tensor, probability: float) -> Tensor:
    """x with each element zeroed with `probability`, the others divided by what is left of 1; any shape.

    On a CPU torch draws one number an element, which takes longer than the rest of a residual connection. Here one
    64-bit draw of the same generator serves four elements, and the probability is rounded to a multiple of 2^-16.
    """
    if probability == 0.0:
        return x
    if x.device.type != "cpu":
        return dropout(x, probability)
    dropped = round(probability * LEVELS)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
