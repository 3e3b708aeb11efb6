from __future__ import annotations

import math

import pytest
import torch

from reluformer.memory.after import GatedRMSNorm


def test_equals_its_equation():
    torch.manual_seed(0)
    norm = GatedRMSNorm(4).double()
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.gate)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    y = norm(x)
    for b in range(2):
        for i in range(3):
            row = x[b, i].tolist()
            rms = math.sqrt(sum(v * v for v in row) / 4)
            for d, v in enumerate(row):
                gate = 1 / (1 + math.exp(-norm.gate[d].item() * v))
                assert y[b, i, d].item() == pytest.approx(norm.scale[d].item() * v / rms * gate, rel=1e-6)


def test_gradients():
    norm = GatedRMSNorm(3).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_stays_zero_and_finite(dtype):
    norm = GatedRMSNorm(8).to(dtype)
    x = torch.zeros(2, 8, dtype=dtype, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert y.dtype == dtype and not y.any() and x.grad.isfinite().all()


def test_statistics_are_in_single_precision():
    x = torch.full((1, 8), 1e4, dtype=torch.float16)
    torch.testing.assert_close(GatedRMSNorm(8).half()(x), torch.ones(1, 8, dtype=torch.float16))
