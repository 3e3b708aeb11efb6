"""Dropout by a counter-based generator: a weight's fate is a hash of the seed and of its place.

So the backward pass, and another backend, find the same without storing it. `cpu.cpp` has the same arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANGE = 1 << 32
WORD = RANGE - 1


def threshold(probability: float) -> int:
    """Draws of 32 bits below this are dropped."""
    return min(round(probability * RANGE), WORD)


def draw_seed() -> int:
    """A seed from torch's generator of the CPU, so that a resumed training repeats it; no device waits for it."""
    return int(torch.randint(1 << 31, ()))


def dropout_factors(seed: int, heads: Tensor, rows: Tensor, slots: Tensor, probability: float) -> Tensor:
    """What weights are multiplied with, 0 or 1 / (1 − probability), in fp32: [N, Q, K].

    heads: int64 [N], b·H + h; rows: int64 [Q]; slots: int64 [K].
    """
    keys = _mix64(seed + _signed(0x9E3779B97F4A7C15) * (heads[:, None] * RANGE + rows + 1))[..., None]
    draws = _mix32((slots * 0x9E3779B9 + (keys & WORD)) & WORD) ^ ((keys >> 32) & WORD)
    least = threshold(probability)
    return (draws >= least).to(torch.float32).mul_(RANGE / (RANGE - least))


def dropout_mask(seed: int, shape: tuple[int, int, int, int], probability: float) -> Tensor:
    """The factors of all weights [B, H, Q, K] of one read."""
    batch, heads, rows, slots = shape
    factors = dropout_factors(seed, torch.arange(batch * heads), torch.arange(rows), torch.arange(slots), probability)
    return factors.view(shape)


def _mix64(x: Tensor) -> Tensor:
    """Splitmix64's finaliser; int64 arithmetic wraps as that of unsigned numbers does."""
    x = (x ^ _right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _right(x, 31)


def _mix32(x: Tensor) -> Tensor:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


def _right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64)
