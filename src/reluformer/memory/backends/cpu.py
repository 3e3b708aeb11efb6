"""The C++ kernel as a differentiable function: ReLU attention on a CPU, computed in fp32.

bf16 and fp16 come and go as they are and are computed in fp32. The result depends neither on the number of threads nor
on their timing, but for the query's gradient where there are fewer heads in the batch than threads: there the slots
are split into as many parts as threads need, and the parts' gradients are added in order.

Shapes: B batch, H heads, Q rows, K slots, D head width.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reluformer.memory.backends import AttentionOptions, FusedRead
from reluformer.ops.build import call
from reluformer.ops.counter import RANGE, threshold
from reluformer.ops.heads import room_for

SOURCE = Path(__file__).with_name("cpu.cpp")
PART = 64
"""Rows or slots below which a head is not split between threads."""


class CpuReLU(torch.autograd.Function):
    """(output, total, logs) of query [B, H, Q, D], key and value [B, H, K, D], all fp32."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.save_for_backward(query, key, value)
        ctx.options = options
        return _forward(query, key, value, options)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_total: Tensor | None, grad_logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        options: AttentionOptions = ctx.options
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        sums = tuple(None if x is None else x.contiguous() for x in (grad_total, grad_logs))
        parts = _parts(query, key.size(2))
        gradients = query_grad, key_grad, value_grad = room_for((query, key, value))
        if query.numel() == 0:
            return query_grad, key_grad.zero_(), value_grad.zero_(), None
        if parts == 1:
            _run(1, (query, key, value, grad), gradients, sums, options)
        else:
            shares = query.new_empty(parts, *query.shape)
            _run(
                1, (query, key, value, grad), (shares[0], key_grad, value_grad), sums, options, parts, shares.stride(0)
            )
            torch.sum(shares, 0, out=query_grad)
        return query_grad, key_grad, value_grad, None


def _forward(
    query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    batch, heads, rows, width = query.shape
    output = query.new_empty(batch, rows, heads, width).transpose(1, 2)  # what joins the heads is a view then
    total = query.new_empty(batch, heads, rows) if options.statistics else None
    logs = None if total is None else torch.empty_like(total)
    _run(0, (query, key, value, output), (), (total, logs), options, _parts(query, rows))
    return output, total, logs


def _parts(query: Tensor, length: int) -> int:
    """Into how many parts each head's work is split so that no thread is idle."""
    heads = max(1, query.size(0) * query.size(1))
    return max(1, min(-(-torch.get_num_threads() // heads), length // PART))


def _run(
    backward: int,
    tensors: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    sums: tuple[Tensor | None, ...],
    options: AttentionOptions,
    parts: int = 1,
    part: int = 0,
) -> None:
    """Calls the library: its numbers are shape and options, then address and strides of each tensor."""
    query, key = tensors[:2]
    if query.numel() == 0:
        return
    sizes = (*query.shape[:3], key.size(2), query.size(3))
    pointers = [0 if x is None else x.data_ptr() for x in (options.keys, *sums)]
    numbers = [backward, *sizes, options.causal, torch.get_num_threads(), parts, options.seed, *pointers]
    factor = None if options.factor is None else options.factor.expand(*query.shape[:3], 1)
    numbers += (0, 0, 0, 0) if factor is None else (factor.data_ptr(), *factor.stride()[:3])
    for tensor in (*tensors, *gradients):
        numbers += (tensor.data_ptr(), *tensor.stride()[:3])
    numbers.append(part)
    least = threshold(options.dropout)
    raised = ctypes.c_float(RANGE / (RANGE - least))
    call(SOURCE, "relu_attention", numbers, ctypes.c_float(options.scale), ctypes.c_uint32(least), raised)


def cpu_relu_attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    """See `dispatch.relu_attention`; the factor carries no gradient."""
    dtype = query.dtype
    query, key, value = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (query.float(), key.float(), value.float())
    )
    keys, factor = options.keys, options.factor
    options = options._replace(
        keys=None if keys is None else keys.contiguous(), factor=None if factor is None else factor.detach().float()
    )
    differentiable = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    output, total, logs = (CpuReLU.apply if differentiable else _forward)(query, key, value, options)
    return FusedRead(output.to(dtype), total, logs)
