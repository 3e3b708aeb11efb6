from __future__ import annotations

import shutil

import pytest
import torch

from reluformer.ops import dropout
from reluformer.ops.dropout import drop


@pytest.fixture(params=["C++", "torch"], autouse=True)
def path(request, monkeypatch):
    """Everything below holds with the kernel and without."""
    if request.param == "torch":
        monkeypatch.setattr(dropout, "can_drop", lambda x, added: False)
    elif shutil.which("g++") is None:
        pytest.skip("needs g++")


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5])
def test_share_scale_and_gradient(probability):
    torch.manual_seed(0)
    x = torch.ones(101, 1003, requires_grad=True)
    y = drop(x, probability)
    assert (y == 0).float().mean().item() == pytest.approx(probability, abs=0.005)
    assert y[y != 0].unique().tolist() == pytest.approx([1 / (1 - probability)], rel=1e-4)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_neighbours_are_independent():
    """In torch four elements share a draw: no pair of them may agree more often than chance."""
    torch.manual_seed(0)
    kept = (drop(torch.ones(50_000, 4), 0.5) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02


def test_zero_is_nothing_and_the_seed_decides():
    x = torch.randn(3, 5)
    assert drop(x, 0.0) is x
    torch.manual_seed(1)
    first = drop(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(first, drop(x, 0.5))
    assert not torch.equal(first, drop(x, 0.5))


def test_what_it_is_added_to():
    x, added = torch.randn(3, 500, requires_grad=True), torch.randn(3, 500, requires_grad=True)
    torch.manual_seed(1)
    dropped = drop(x, 0.5)
    torch.manual_seed(1)
    y = drop(x, 0.5, added)
    torch.testing.assert_close(y, added + dropped)
    found = torch.autograd.grad(y.square().sum(), (x, added))
    torch.testing.assert_close(found, torch.autograd.grad((added + dropped).square().sum(), (x, added)))
    assert torch.equal(drop(x, 0.0, added), added + x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_and_shape_stay(dtype):
    x = torch.ones(2, 3, 5, dtype=dtype)
    assert drop(x, 0.5).dtype == dtype and drop(x, 0.5).shape == x.shape
    assert drop(x, 0.5, x).dtype == dtype
    assert drop(torch.ones(0, 4), 0.5).shape == (0, 4)
