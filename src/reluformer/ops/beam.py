"""What one step of a beam search needs beside products of matrices, in C++ (`beam.cpp`) for fp32 on a CPU.

Nothing here can be differentiated. `has_kernel` says whether there is a kernel for a tensor; where there is none,
callers have the same in torch.

Shapes: B batch, H heads, W rows of a batch entry, C slots, t of them that a row sees, D head width; R rows of logits,
V vocabulary.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from reluformer.ops.build import call, library

SOURCE = Path(__file__).with_name("beam.cpp")


def has_kernel(tensor: Tensor) -> bool:
    """Whether the kernels take tensors like this one: fp32 on a CPU, not to be differentiated, a compiler at hand."""
    dense = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.stride(-1) == 1
    differentiable = torch.is_grad_enabled() and tensor.requires_grad
    return dense and not differentiable and library(SOURCE) is not None


def path_scores(query: Tensor, key: Tensor, path: Tensor | None) -> Tensor:
    """q·k [B, H, W, t] of query [B, H, W, D] with the slots of key [B, H, C, D] on each row's path.

    path: int64 [B, W, t], or none: every row sees all C slots.
    """
    seen = key.size(2) if path is None else path.size(2)
    weights = query.new_empty(*query.shape[:3], seen)
    _run("beam_scores", weights, key, query if query.stride(-1) == 1 else query.contiguous(), path)
    return weights


def path_mix(weights: Tensor, value: Tensor, path: Tensor | None) -> Tensor:
    """Σ weight · v [B, H, W, D] of weights [B, H, W, t] and the slots of value [B, H, C, D] on each row's path."""
    batch, heads, rows, _ = weights.shape
    output = value.new_empty(batch, rows, heads, value.size(3)).transpose(1, 2)  # what joins the heads is a view then
    _run("beam_mix", weights.contiguous(), value, output, path)
    return output


def best_tokens(logits: Tensor, k: int, end: int, banned: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of logits [R, V]: log p [R] of token `end`; log p and tokens [R, k] of the k best not banned, sorted.

    Overwrites the logits. Of equals the smaller token comes first. Where fewer than k are left the rest is -inf; a row
    with NaN or infinity has no finite log p.
    """
    logits = logits.contiguous()
    rows, length = logits.shape
    p, value = logits.new_empty(rows), logits.new_empty(rows, k)
    token = torch.empty(rows, k, dtype=torch.long)
    never = (ctypes.c_int64 * len(banned))(*banned)
    numbers = [rows, length, k, end, torch.get_num_threads(), len(banned), ctypes.addressof(never)]
    call(SOURCE, "beam_best", [*numbers, *(x.data_ptr() for x in (logits, p, value, token))])
    return p, value, token


def _run(function: str, weights: Tensor, slots: Tensor, dense: Tensor, path: Tensor | None) -> None:
    path = None if path is None else path.contiguous()
    numbers = [*weights.shape, slots.size(3), torch.get_num_threads()]
    numbers += [0 if path is None else path.data_ptr(), weights.data_ptr()]
    for tensor in (slots, dense):
        numbers += [tensor.data_ptr(), *tensor.stride()[:3]]
    call(SOURCE, function, numbers)
