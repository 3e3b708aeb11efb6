"""Dropout by a counter-based generator: a hash of the seed and an element's position decides whether it is dropped.

The backward pass and other backends thus recompute the mask instead of storing it. For fp32 on a CPU, C++
(`dropout.cpp`) does the same arithmetic; the result does not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout

from reluformer.ops.paths import call, library, require_close

SOURCE = Path(__file__).with_name("dropout.cpp")
BLOCK = 1024
"""Element i is slot i % BLOCK of row i / BLOCK in `dropout_mask`."""
RANGE = 1 << 32
WORD = RANGE - 1
LEVELS = 1 << 16


def drop(x: Tensor, probability: float, added: Tensor | None = None) -> Tensor:
    """Returns x with each element zeroed with `probability` and the others divided by 1 - `probability`; any shape.

    added: tensor of the same shape, added to the result if given.
    """
    if probability > 0.0:
        if can_drop(x, added):
            return Dropout.apply(x, added, probability)
        x = dropout(x, probability) if x.device.type != "cpu" else _in_torch(x, probability)
    return x if added is None else added + x


def draw_seed() -> int:
    """Draws a seed from torch's CPU generator, so that a resumed training repeats it without synchronising a GPU."""
    return int(torch.randint(1 << 31, ()))


def constants(probability: float) -> tuple[ctypes.c_uint32, ctypes.c_float]:
    """Returns the C++ kernel's (threshold, scale): drops 32-bit draws below the threshold and scales the others."""
    least = _threshold(probability)
    return ctypes.c_uint32(least), ctypes.c_float(RANGE / (RANGE - least))


def dropout_factors(seed: int, heads: Tensor, rows: Tensor, slots: Tensor, probability: float) -> Tensor:
    """Returns the factors of the weights, 0 or 1 / (1 − probability), in fp32: [N, Q, K].

    heads: int64 [N], b·H + h; rows: int64 [Q]; slots: int64 [K].
    """
    keys = _mix64(seed + _signed(0x9E3779B97F4A7C15) * (heads[:, None] * RANGE + rows + 1))[..., None]
    draws = _mix32((slots * 0x9E3779B9 + (keys & WORD)) & WORD) ^ ((keys >> 32) & WORD)
    least = _threshold(probability)
    return (draws >= least).to(torch.float32).mul_(RANGE / (RANGE - least))


def dropout_mask(seed: int, shape: tuple[int, int, int, int], probability: float) -> Tensor:
    """Returns the factors of all weights [B, H, Q, K] of one read."""
    batch, heads, rows, slots = shape
    factors = dropout_factors(seed, torch.arange(batch * heads), torch.arange(rows), torch.arange(slots), probability)
    return factors.view(shape)


def can_drop(x: Tensor, added: Tensor | None) -> bool:
    """Returns whether the C++ kernel applies: fp32 on a CPU, equal shapes, kernel available."""
    fitting = x.device.type == "cpu" and x.dtype == torch.float32
    if added is not None:
        fitting = fitting and added.dtype == x.dtype and added.shape == x.shape and added.device == x.device
    return fitting and library(SOURCE) is not None


class Dropout(torch.autograd.Function):
    """`drop` by the C++ kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor | None, probability: float) -> Tensor:
        ctx.seed, ctx.probability = draw_seed(), probability
        return _run(x, added, ctx.seed, probability)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        return (
            _run(grad, None, ctx.seed, ctx.probability) if ctx.needs_input_grad[0] else None,
            grad if ctx.needs_input_grad[1] else None,
            None,
        )


def _run(x: Tensor, added: Tensor | None, seed: int, probability: float) -> Tensor:
    x, added = x.contiguous(), None if added is None else added.contiguous()
    out = torch.empty_like(x)
    pointers = (0 if tensor is None else tensor.data_ptr() for tensor in (x, added, out))
    call(SOURCE, "dropout", [x.numel(), torch.get_num_threads(), seed, *pointers], *constants(probability))
    return out


def _in_torch(x: Tensor, probability: float) -> Tensor:
    """Applies dropout with one 64-bit draw for four elements; rounds the probability to a multiple of 2^-16.

    On a CPU, torch's own dropout draws one number per element, which takes longer than the rest of a residual
    connection.
    """
    dropped = round(probability * LEVELS)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    mask = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
    return x * mask.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


def _threshold(probability: float) -> int:
    return min(round(probability * RANGE), WORD)


def _mix64(x: Tensor) -> Tensor:
    """Splitmix64's finaliser; int64 arithmetic wraps around like unsigned arithmetic."""
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


def prove(_: str) -> None:
    """Compares the C++ with the same generator in torch, forward and backward; a proof of `ops.paths`."""
    x, added, probability = torch.linspace(-1, 1, 3 * BLOCK + 5).requires_grad_(), torch.ones(3 * BLOCK + 5), 0.3
    seed = draw_seed()
    factors = dropout_mask(seed, (1, 1, 4, BLOCK), probability).flatten()[: x.numel()]
    require_close("dropout", _run(x.detach(), added, seed, probability), x.detach() * factors + 1, 1e-6)
    output = Dropout.apply(x, added, probability)
    output.backward(torch.ones_like(output))
    assert x.grad is not None
    require_close("its gradient", x.detach() * x.grad + 1, output.detach(), 1e-6)
