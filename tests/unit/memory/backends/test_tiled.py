from __future__ import annotations

import pytest
import torch

from reluformer.memory.backends import AttentionOptions, tiled
from reluformer.memory.backends.tiled import tiled_relu_attention

OPTIONS = {"keys": None, "scale": 1.0, "dropout": 0.0, "seed": 0}


def test_equals_float64(compare, case):
    compare(tiled_relu_attention, case)


@pytest.mark.parametrize("mask", ["all", "both"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(compare, make_case, mask, dtype):
    tolerance = {torch.float64: 1e-12, torch.bfloat16: 0.03, torch.float16: 5e-3}[dtype]
    compare(tiled_relu_attention, make_case(40, 70, 32, mask, 0.2, True), dtype, tolerance)


def test_small_tiles_give_the_same(compare, make_case, monkeypatch):
    monkeypatch.setattr(tiled, "ROWS", 7)
    monkeypatch.setattr(tiled, "ELEMENTS", {True: 1, False: 1})
    for mask in ("all", "both"):
        compare(tiled_relu_attention, make_case(40, 33, 16, mask, 0.3, True))


def test_no_weights_are_kept_for_the_backward_pass():
    query, key, value = (torch.randn(1, 1, 600, 16, requires_grad=True) for _ in range(3))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        tiled_relu_attention(query, key, value, AttentionOptions(causal=True, statistics=True, **OPTIONS))
    assert saved and max(saved) == query.numel()


def test_empty_inputs():
    for batch, rows, slots in ((2, 0, 3), (2, 3, 0), (0, 3, 3)):
        query, key, value = (torch.randn(batch, 2, n, 8, requires_grad=True) for n in (rows, slots, slots))
        output, *_ = tiled_relu_attention(
            query, key, value, AttentionOptions(causal=False, statistics=False, **OPTIONS)
        )
        output.sum().backward()
        assert output.shape == query.shape and not output.any() and not query.grad.any()
