"""Dropout in C++ (`dropout.cpp`) for fp32 on a CPU: no draw and no mask is stored, the backward pass finds them again.

What is dropped does not depend on the number of threads. `can_drop` says whether there is a kernel for a tensor.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reluformer.ops.build import call, library
from reluformer.ops.counter import RANGE, draw_seed, threshold

SOURCE = Path(__file__).with_name("dropout.cpp")
BLOCK = 1024
"""Element i is slot i % BLOCK of row i / BLOCK in `counter.dropout_mask`."""


def can_drop(x: Tensor, added: Tensor | None) -> bool:
    """Whether the kernel takes tensors like these: fp32 on a CPU, of one shape, a compiler at hand."""
    fitting = x.device.type == "cpu" and x.dtype == torch.float32
    if added is not None:
        fitting = fitting and added.dtype == x.dtype and added.shape == x.shape and added.device == x.device
    return fitting and library(SOURCE) is not None


class Dropout(torch.autograd.Function):
    """`added` + x with each element zeroed with `probability`, the others divided by what is left of 1; any shape."""

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
    numbers = [x.numel(), torch.get_num_threads(), seed, *pointers]
    least = threshold(probability)
    call(SOURCE, "dropout", numbers, ctypes.c_uint32(least), ctypes.c_float(RANGE / (RANGE - least)))
    return out
