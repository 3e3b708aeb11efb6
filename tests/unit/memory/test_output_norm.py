from __future__ import annotations

import math

import pytest
import torch

from reluformer.memory.output_norm import GatedRMSNorm


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


def test_starts_as_its_authors_start_it():
    """Scale 1, gate U(±√(3/E)): TensorFlow's variance scaling, fan_avg, uniform, of a vector of E."""
    torch.manual_seed(0)
    norm = GatedRMSNorm(4096)
    bound = math.sqrt(3 / 4096)
    assert torch.equal(norm.scale, torch.ones(4096))
    assert norm.gate.abs().max() <= bound
    assert norm.gate.min() < -0.99 * bound and norm.gate.max() > 0.99 * bound
    assert norm.gate.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert GatedRMSNorm(512).gate.abs().max().item() == pytest.approx(0.0765, abs=2e-3)


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
    norm = GatedRMSNorm(8).half()
    torch.nn.init.zeros_(norm.gate)
    torch.testing.assert_close(norm(x), torch.full((1, 8), 0.5, dtype=torch.float16))
