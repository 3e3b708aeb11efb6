"""Cross-entropy of rows of logits and its gradient, in place, in C++ (`cross_entropy.cpp`) for fp32 on a CPU.

`has_kernel` says whether there is a kernel for a tensor; where there is none, callers have the same in torch. The
result does not depend on the number of threads.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from reluformer.ops.build import call, library

SOURCE = Path(__file__).with_name("cross_entropy.cpp")


def has_kernel(logits: Tensor) -> bool:
    """Whether the kernel takes logits like these: fp32 on a CPU, dense, a compiler at hand."""
    fitting = logits.device.type == "cpu" and logits.dtype == torch.float32 and logits.is_contiguous()
    return fitting and library(SOURCE) is not None


def cross_entropy(logits: Tensor, target: Tensor, kept: float | None) -> Tensor:
    """-log p [N] of the targets, int64 [N] and each below V; logits [N, V] become p - kept · 1[v = target].

    kept: none leaves the logits as they are. A row with NaN or +infinity is NaN.
    """
    rows, length = logits.shape
    loss, target = logits.new_empty(rows), target.contiguous()
    pointers = (x.data_ptr() for x in (logits, target, loss))
    numbers = [rows, length, torch.get_num_threads(), kept is not None, *pointers]
    call(SOURCE, "cross_entropy", numbers, ctypes.c_float(kept or 0.0))
    return loss
