from __future__ import annotations

import shutil

import pytest
import torch

from reluformer.ops.counter import draw_seed, dropout_mask
from reluformer.ops.dropout_kernel import BLOCK, Dropout, can_drop

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def mask(seed, shape, probability):
    size = torch.Size(shape).numel()
    factors = dropout_mask(seed, (1, 1, size // BLOCK + 1, BLOCK), probability)
    return factors.flatten()[:size].view(shape)


def next_seed():
    """The seed that is drawn after torch.manual_seed(3)."""
    torch.manual_seed(3)
    return draw_seed()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(), (1,), (15,), (3, 33), (1024,), (5, 1025), (70, 301)])
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_equals_the_counter_in_torch(shape, probability, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    x, added, grad = (torch.randn(shape, requires_grad=True) for _ in range(3))
    factors = mask(next_seed(), shape, probability)
    for residual in (None, added):
        torch.manual_seed(3)
        y = Dropout.apply(x, residual, probability)
        torch.testing.assert_close(y, x * factors if residual is None else x * factors + added)
        leaves = (x,) if residual is None else (x, added)
        wanted = (grad * factors, grad)
        for found, expected in zip(torch.autograd.grad(y, leaves, grad), wanted, strict=False):
            assert torch.equal(found, expected)


def test_tensors_that_are_not_dense():
    x, added = torch.randn(40, 30).T.requires_grad_(), torch.randn(1, 40).expand(30, 40)
    factors = mask(next_seed(), x.shape, 0.3)
    torch.manual_seed(3)
    y = Dropout.apply(x, added, 0.3)
    torch.testing.assert_close(y, x * factors + added)
    y.sum().backward()
    assert torch.equal(x.grad, factors)


def test_broken_numbers_stay_broken():
    x = torch.full((10_000,), torch.nan)
    assert Dropout.apply(x, None, 0.5).isnan().all() and Dropout.apply(torch.zeros(10_000), x, 0.5).isnan().all()


def test_what_the_kernel_takes():
    x = torch.zeros(2, 3)
    assert can_drop(x, None) and can_drop(x, x + 1)
    assert not can_drop(x.double(), None) and not can_drop(x, x.double()) and not can_drop(x.bfloat16(), x)
    assert not can_drop(x, x[:1]) and not can_drop(x.to("meta"), None)
