"""Proofs of the fused kernels for `ops.paths`: compares a small read and its gradients with a read in fp64."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from reluformer.memory.backends import FUNCTORS, AttentionOptions, FusedKernel, FusedRead
from reluformer.memory.backends.cpu import cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops.paths import require_close

BATCH, HEADS, ROWS, SLOTS, WIDTH = 2, 2, 40, 70, 64
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 8e-2}
NAMES = ("the output", "Σ s", "Σ s log s", "the query's gradient", "the key's gradient", "the value's gradient")


def cpu(device: str) -> None:
    """Proves the C++ kernel, including its variant for few rows."""
    prove(cpu_relu_attention, device)
    prove(cpu_relu_attention, device, rows=1)


def tiled(device: str) -> None:
    """Proves the tiles in plain torch."""
    prove(tiled_relu_attention, device)


def triton(device: str) -> None:
    """Proves the Triton kernel."""
    module = importlib.import_module("reluformer.memory.backends.triton_relu")
    prove(module.triton_relu_attention, device)


def prove(kernel: FusedKernel, device: str, rows: int = ROWS) -> None:
    """Raises `ArithmeticError` if a kernel's results or gradients differ from those of a read in fp64."""
    generator = torch.Generator().manual_seed(3)
    shapes = ((rows, WIDTH), (SLOTS, WIDTH), (SLOTS, WIDTH), (rows, WIDTH), (rows,), (rows,))
    inputs = [torch.randn(BATCH, HEADS, *shape, generator=generator) for shape in shapes]
    keys = torch.arange(SLOTS) < torch.tensor([[SLOTS], [SLOTS - 9]])
    factor = torch.linspace(0.5, 2, rows).view(1, 1, rows, 1)
    plain = AttentionOptions(keys, causal=True, scale=0.125, factor=factor)
    forms = [(plain._replace(statistics=True), dtype) for dtype in TOLERANCES]
    forms += [(plain._replace(function=name, shift=factor - 1), torch.float32) for name in FUNCTORS]
    for options, dtype in forms:
        rounded = [x.to(dtype) for x in inputs]
        shift = None if options.shift is None else options.shift.to(device)
        moved = options._replace(keys=keys.to(device), factor=factor.to(device), shift=shift)
        ours = _results(kernel, [x.to(device) for x in rounded], moved)
        expected = _results(_reference, [x.double() for x in rounded], options)
        of = "" if options.shift is None else f" of a shifted {options.function}"
        names = NAMES if options.statistics else [name for name in NAMES if not name.startswith("Σ")]
        for name, one, other in zip(names, ours, expected, strict=True):
            require_close(f"{name} in {dtype}{of}", one, other, TOLERANCES[dtype])


def _results(kernel: FusedKernel, inputs: list[Tensor], options: AttentionOptions) -> list[Tensor]:
    """Returns the output, the row statistics, and the gradients of their products with the last three of `inputs`."""
    query, key, value = (x.clone().requires_grad_() for x in inputs[:3])
    results = [x for x in kernel(query, key, value, options) if x is not None]
    loss = torch.stack([(x * weight).sum() for x, weight in zip(results, inputs[3:], strict=False)]).sum()
    return [*(x.detach() for x in results), *torch.autograd.grad(loss, (query, key, value))]


def _reference(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    rows, slots = query.size(2), key.size(2)
    assert options.keys is not None and options.factor is not None
    seen = options.keys[:, None, None] & (torch.arange(slots) <= slots - rows + torch.arange(rows)[:, None])
    scores = (query * options.factor.double() * options.scale) @ key.mT
    if options.shift is not None:
        scores = scores + options.shift.double()
    weights = scores.sigmoid() if options.function == "sigmoid" else scores.relu()
    weights = (weights.square() if options.function == "relu-squared" else weights) * seen
    if not options.statistics:
        return FusedRead(weights @ value)
    return FusedRead(weights @ value, weights.sum(-1), (weights * weights.clamp(min=1e-30).log()).sum(-1))
