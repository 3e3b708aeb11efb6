"""Autograd wrapper of the C++ kernel: attention with weights f(score) on a CPU, computed in fp32.

Results in bf16 and fp16 are rounded from fp32. They depend neither on the number of threads nor on their timing, except
for the query's gradient if the batch has fewer heads than there are threads: the slots are then split into as many
parts as there are threads to use, and the parts' gradients are added in order.

Shapes: B batch, H heads, Q rows, K slots, D head width.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reluformer.memory.backends import FUNCTORS, AttentionOptions, FusedRead, prepare
from reluformer.ops.dropout import constants
from reluformer.ops.heads import empty_like_heads
from reluformer.ops.paths import call

SOURCE = Path(__file__).with_name("cpu.cpp")
PART = 64
"""Rows or slots below which a head is not split between threads."""


class CpuReLU(torch.autograd.Function):
    """(output, total, logs) of query [B, H, Q, D], key and value [B, H, K, D], all fp32; see `FusedRead`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.save_for_backward(query, key, value)
        ctx.options = options
        batch, heads, rows, width = query.shape
        output = query.new_empty(batch, rows, heads, width).transpose(1, 2)  # joining the heads is then a view
        total = query.new_empty(batch, heads, rows) if options.statistics else None
        logs = None if total is None else torch.empty_like(total)
        if query.numel():
            parts = _parts(query, rows)
            call(SOURCE, "relu_attention", *_arguments((query, key, value, output), (total, logs), options, parts))
        return output, total, logs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_total: Tensor | None, grad_logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        sums = tuple(None if x is None else x.contiguous() for x in (grad_total, grad_logs))
        query_grad, key_grad, value_grad = empty_like_heads((query, key, value))
        if query.numel() == 0:
            return query_grad, key_grad.zero_(), value_grad.zero_(), None
        parts = _parts(query, key.size(2))
        shares = query_grad[None] if parts == 1 else query.new_empty(parts, *query.shape)
        tensors = (query, key, value, grad, shares[0], key_grad, value_grad)
        arguments = _arguments(tensors, sums, ctx.options, parts, backward=True, share=shares.stride(0))
        call(SOURCE, "relu_attention", *arguments)
        if parts > 1:
            torch.sum(shares, 0, out=query_grad)
        return query_grad, key_grad, value_grad, None


def _parts(query: Tensor, length: int) -> int:
    """Returns the number of parts to split each head into so that no thread is idle."""
    heads = max(1, query.size(0) * query.size(1))
    return max(1, min(-(-torch.get_num_threads() // heads), length // PART))


def _arguments(
    tensors: tuple[Tensor, ...],
    sums: tuple[Tensor | None, ...],
    options: AttentionOptions,
    parts: int,
    backward: bool = False,
    share: int = 0,
) -> tuple[Any, ...]:
    """Returns the library's arguments: shape and options, then address and strides of each tensor.

    share: stride between the parts' gradients of the query.
    """
    query, key = tensors[:2]
    sizes = (*query.shape[:3], key.size(2), query.size(3))
    pointers = [0 if x is None else x.data_ptr() for x in (options.keys, *sums)]
    numbers = [backward, *sizes, options.causal, torch.get_num_threads(), parts, options.seed or 0, *pointers]
    for row in (options.factor, options.shift):
        row = None if row is None else row.expand(*query.shape[:3], 1)
        numbers += (0, 0, 0, 0) if row is None else (row.data_ptr(), *row.stride()[:3])
    numbers.append(list(FUNCTORS).index(options.function))
    for tensor in tensors:
        numbers += (tensor.data_ptr(), *tensor.stride()[:3])
    numbers.append(share)
    return numbers, ctypes.c_float(options.scale), *constants(options.dropout)


def cpu_relu_attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    """Implements `FusedKernel`; a factor with a gradient is multiplied into the query."""
    dtype, factor = query.dtype, options.factor
    query, options = prepare(query, options, keep_factor=factor is None or not factor.requires_grad)
    query, key, value = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (query.float(), key.float(), value.float())
    )
    keys, factor, shift = options.keys, options.factor, options.shift
    if shift is None and options.function != "relu":  # for other functions, the kernel always adds b_i
        shift = query.new_zeros(())
    options = options._replace(
        keys=None if keys is None else keys.contiguous(),
        factor=None if factor is None else factor.detach().float(),
        shift=None if shift is None else shift.detach().float(),
    )
    output, total, logs = CpuReLU.apply(query, key, value, options)
    return FusedRead(output.to(dtype), total, logs)
