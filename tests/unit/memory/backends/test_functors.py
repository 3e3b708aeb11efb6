"""Kernels with each f of FUNCTORS against loops in float64: ragged, causal and padded, with a shift, and dropout."""

from __future__ import annotations

import math

import pytest
import torch

from reluformer.config.memory import MemoryConfig
from reluformer.memory.activations import build_activation
from reluformer.memory.backends import FUNCTORS, AttentionOptions
from reluformer.memory.backends.cpu import SOURCE, cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.memory.mask import AttentionMask, RowMask
from reluformer.memory.read import read
from reluformer.ops.dropout import dropout_mask
from reluformer.ops.paths import library

B, H, SEED = 3, 2, 77
SHAPES = [(1, 1, 16), (2, 70, 64), (25, 25, 20), (97, 96, 32), (40, 193, 64)]
KERNELS = [
    pytest.param(cpu_relu_attention, marks=pytest.mark.skipif(library(SOURCE) is None, reason="needs a compiler")),
    tiled_relu_attention,
]
EQUATIONS = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "relu-squared": lambda x: torch.where(x > 0, x * x, 0.0),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
}


def loop(name, query, key, value, keys, causal, scale, factor, shift, dropout_factors):
    """Computes the output row by row, differentiably; `dropout_factors` multiply the weights."""
    rows, slots = query.size(2), key.size(2)
    outputs = []
    for b in range(B):
        for i in range(rows):
            seen = [j for j in range(slots) if keys[b, j] and (not causal or j <= i + slots - rows)]
            x = factor[0, 0, i, 0] * scale * (query[b, :, i, None] * key[b, :, seen]).sum(-1) + shift[0, 0, i, 0]
            weights = EQUATIONS[name](x) * dropout_factors[b, :, i, seen]
            outputs.append((weights[..., None] * value[b, :, seen]).sum(1))
    return torch.stack(outputs).view(B, rows, H, -1).transpose(1, 2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FUNCTORS)
@pytest.mark.parametrize(("rows", "slots", "width"), SHAPES)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_loops_in_float64(kernel, name, rows, slots, width, causal):
    torch.manual_seed(rows + slots)
    dropout = 0.3 if rows % 2 else 0.0
    leaves = [torch.randn(B, n, H, width).transpose(1, 2).requires_grad_() for n in (rows, slots, slots)]
    keys = torch.arange(slots)[None] < torch.tensor([[slots], [(slots + 1) // 2], [0]])
    keys[0, 1::3] = False
    factor, shift = torch.linspace(0.5, 2, rows).view(1, 1, rows, 1), torch.linspace(-1, 0.5, rows).view(1, 1, rows, 1)
    grad = torch.randn(B, H, rows, width)
    options = AttentionOptions(keys, causal, width**-0.5, dropout, SEED, False, factor, shift, name)
    ours = kernel(*leaves, options).output
    grads = torch.autograd.grad(ours, leaves, grad)
    wide = [x.detach().double().requires_grad_() for x in leaves]
    shape = (B, H, rows, slots)
    dropout_factors = dropout_mask(SEED, shape, dropout).double() if dropout else torch.ones(shape, dtype=torch.float64)
    exact = loop(name, *wide, keys, causal, width**-0.5, factor.double(), shift.double(), dropout_factors)
    for actual, expected in zip((ours, *grads), (exact, *torch.autograd.grad(exact, wide, grad.double())), strict=True):
        torch.testing.assert_close(actual.double(), expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FUNCTORS)
def test_extreme_scores_and_undefined_ones(kernel, name):
    """Nothing overflows, and NaN in a query stays in its row."""
    query = torch.tensor([300.0, -300.0, 0.0, math.nan]).view(1, 1, 4, 1).repeat(1, 1, 1, 16).requires_grad_()
    key = torch.ones(1, 1, 40, 16)
    output = kernel(query, key, key, AttentionOptions(function=name, shift=torch.tensor(0.0))).output
    assert output[0, 0, 3].isnan().all() and output[0, 0, :3].isfinite().all()
    expected = EQUATIONS[name](torch.tensor([4800.0, -4800.0, 0.0], dtype=torch.float64)) * 40
    torch.testing.assert_close(output[0, 0, :3, 0].double(), expected)
    assert torch.autograd.grad(output[:, :, :3].sum(), query)[0][0, 0, :3].isfinite().all()


FUSED = {
    "relu": "relu",
    "relu-scaled": "relu",
    "relu-length": "relu",
    "relu-shifted": "relu",
    "relu-squared": "relu-squared",
    "sigmoid": "sigmoid",
}


@pytest.mark.parametrize(("name", "function"), FUSED.items())
@pytest.mark.parametrize("mask", [None, [70, 31]])
def test_a_read_uses_the_kernel_and_equals_the_read_without_it(name, function, mask, monkeypatch):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, H, n, 32) for n in (50, 70, 70))
    keys = None if mask is None else torch.arange(70)[None] < torch.tensor(mask)[:, None]
    activation, visible = build_activation(MemoryConfig(activation=name), H), AttentionMask(70, keys, True)
    assert activation.functor == function and activation.fused(query, visible, AttentionOptions()) is not None
    results = []
    for backend in ("cpu" if library(SOURCE) else "tiled", "reference"):
        monkeypatch.setenv("RELUFORMER_KERNEL", backend)
        leaves = [x.clone().requires_grad_() for x in (query, key, value)]
        output = read(*leaves, activation, visible, scale=0.3).output
        results.append([output, *torch.autograd.grad(output.square().sum(), leaves)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


def test_what_no_kernel_computes_is_read_with_its_weights():
    query = torch.randn(2, H, 5, 8)
    visible, sigmoid = AttentionMask(5), build_activation(MemoryConfig(activation="sigmoid"), H)
    assert sigmoid.fused(query, visible, AttentionOptions(statistics=True)) is None  # only ReLU has the sums
    assert (
        sigmoid.fused(query, RowMask(torch.ones(2, 5, 5, dtype=torch.bool), torch.tensor(5)), AttentionOptions())
        is None
    )
    for name in ("softpick", "softplus", "entmax"):
        assert build_activation(MemoryConfig(activation=name), H).fused(query, visible, AttentionOptions()) is None
