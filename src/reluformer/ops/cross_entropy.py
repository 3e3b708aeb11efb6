"""Cross-entropy of rows of logits and its gradient, in place, in C++ (`cross_entropy.cpp`) for fp32 on a CPU.

The result does not depend on the number of threads.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from reluformer.ops.paths import call, library, require_close

SOURCE = Path(__file__).with_name("cross_entropy.cpp")


def has_kernel(logits: Tensor) -> bool:
    """Returns whether the C++ kernel applies: contiguous fp32 on a CPU, kernel available."""
    fitting = logits.device.type == "cpu" and logits.dtype == torch.float32 and logits.is_contiguous()
    return fitting and library(SOURCE) is not None


def cross_entropy(logits: Tensor, target: Tensor, weight: float | None) -> tuple[Tensor, Tensor]:
    """Returns -log p [N] of the targets, and p - weight · 1[v = target] [N, V]; may overwrite the logits.

    A row with NaN or +infinity is NaN.

    Args:
        logits: [N, V], in fp32 or more.
        target: int64 [N, 1], each below V.
        weight: None if no gradient is needed; the second result is then undefined.
    """
    if has_kernel(logits):
        losses, target = logits.new_empty(len(logits)), target.contiguous()
        pointers = (x.data_ptr() for x in (logits, target, losses))
        numbers = [*logits.shape, torch.get_num_threads(), weight is not None, *pointers]
        call(SOURCE, "cross_entropy", numbers, ctypes.c_float(weight or 0.0))
        return losses, logits
    in_place = logits.device.type == "cpu"
    log_p = torch.log_softmax(logits, 1, out=logits) if in_place else torch.log_softmax(logits, 1)
    losses = -log_p.gather(1, target).squeeze(1)
    if weight is None:
        return losses, log_p
    return losses, log_p.exp_().scatter_add_(1, target, log_p.new_full(target.shape, -weight))


def prove(_: str) -> None:
    """Compares the C++ with log-softmax in fp64; a proof of `ops.paths`."""
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(7, 301, generator=generator), torch.arange(7)[:, None]
    log_p = torch.log_softmax(logits.double(), 1)
    losses, grad = cross_entropy(logits, target, 0.9)
    require_close("the loss", losses, -log_p.gather(1, target).squeeze(1), 1e-5)
    require_close("its gradient", grad, log_p.exp().scatter_add_(1, target, log_p.new_full(target.shape, -0.9)), 1e-5)
