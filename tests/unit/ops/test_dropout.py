from __future__ import annotations

import shutil

import pytest
import torch

from reluformer.ops import dropout
from reluformer.ops.dropout import BLOCK, Dropout, can_drop, draw_seed, drop, dropout_mask

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(params=["C++", "torch"])
def path(request, monkeypatch):
    """Runs a test with the kernel and without it."""
    if request.param == "torch":
        monkeypatch.setattr(dropout, "can_drop", lambda x, added: False)
    elif shutil.which("g++") is None:
        pytest.skip("needs g++")


@pytest.mark.usefixtures("path")
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


@pytest.mark.usefixtures("path")
def test_neighbours_are_independent():
    """The torch path draws once for four elements; no pair of them may agree more often than by chance."""
    torch.manual_seed(0)
    kept = (drop(torch.ones(50_000, 4), 0.5) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02


@pytest.mark.usefixtures("path")
def test_probability_zero_is_the_identity_and_the_seed_determines_the_mask():
    x = torch.randn(3, 5)
    assert drop(x, 0.0) is x
    torch.manual_seed(1)
    first = drop(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(first, drop(x, 0.5))
    assert not torch.equal(first, drop(x, 0.5))


@pytest.mark.usefixtures("path")
def test_the_residual_is_added():
    x, added = torch.randn(3, 500, requires_grad=True), torch.randn(3, 500, requires_grad=True)
    torch.manual_seed(1)
    dropped = drop(x, 0.5)
    torch.manual_seed(1)
    y = drop(x, 0.5, added)
    torch.testing.assert_close(y, added + dropped)
    actual = torch.autograd.grad(y.square().sum(), (x, added))
    torch.testing.assert_close(actual, torch.autograd.grad((added + dropped).square().sum(), (x, added)))
    assert torch.equal(drop(x, 0.0, added), added + x)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_and_shape_stay(dtype):
    x = torch.ones(2, 3, 5, dtype=dtype)
    assert drop(x, 0.5).dtype == dtype and drop(x, 0.5).shape == x.shape
    assert drop(x, 0.5, x).dtype == dtype
    assert drop(torch.ones(0, 4), 0.5).shape == (0, 4)


def mask(seed, shape, probability):
    size = torch.Size(shape).numel()
    factors = dropout_mask(seed, (1, 1, size // BLOCK + 1, BLOCK), probability)
    return factors.flatten()[:size].view(shape)


def next_seed():
    """Returns the seed that is drawn after torch.manual_seed(3)."""
    torch.manual_seed(3)
    return draw_seed()


@compiler
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
        for actual, expected in zip(torch.autograd.grad(y, leaves, grad), wanted, strict=False):
            assert torch.equal(actual, expected)


@compiler
def test_tensors_that_are_not_dense():
    x, added = torch.randn(40, 30).T.requires_grad_(), torch.randn(1, 40).expand(30, 40)
    factors = mask(next_seed(), x.shape, 0.3)
    torch.manual_seed(3)
    y = Dropout.apply(x, added, 0.3)
    torch.testing.assert_close(y, x * factors + added)
    y.sum().backward()
    assert torch.equal(x.grad, factors)


@compiler
def test_broken_numbers_stay_broken():
    x = torch.full((10_000,), torch.nan)
    assert Dropout.apply(x, None, 0.5).isnan().all() and Dropout.apply(torch.zeros(10_000), x, 0.5).isnan().all()


@compiler
def test_the_inputs_that_the_kernel_accepts():
    x = torch.zeros(2, 3)
    assert can_drop(x, None) and can_drop(x, x + 1)
    assert not can_drop(x.double(), None) and not can_drop(x, x.double()) and not can_drop(x.bfloat16(), x)
    assert not can_drop(x, x[:1]) and not can_drop(x.to("meta"), None)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_mask_drops_its_share_and_keeps_the_mean(probability):
    mask = dropout_mask(3, (2, 4, 100, 200), probability)
    assert (mask == 0).double().mean().item() == pytest.approx(probability, abs=0.005)
    assert mask[mask != 0].unique().tolist() == pytest.approx([1 / (1 - probability)], rel=1e-6)


def test_neighbours_and_seeds_are_independent():
    """Neighbours in every dimension, and two seeds, are uncorrelated."""
    kept = (dropout_mask(1, (4, 4, 128, 128), 0.5) != 0).double()
    other = (dropout_mask(2, (4, 4, 128, 128), 0.5) != 0).double()
    pairs = [(kept, other)] + [
        (kept.narrow(dim, 0, kept.size(dim) - 1), kept.narrow(dim, 1, kept.size(dim) - 1)) for dim in range(4)
    ]
    for first, second in pairs:
        assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.01


def test_rows_and_columns_are_uniform():
    """No row, slot or head is dropped more than others: the sums have binomial variance."""
    dropped = (dropout_mask(5, (1, 8, 256, 256), 0.25) == 0).double()
    for dim in (-1, -2):
        assert dropped.sum(dim).var().item() == pytest.approx(256 * 0.25 * 0.75, rel=0.1)


def test_seeds_come_from_torchs_generator():
    torch.manual_seed(4)
    first = [draw_seed() for _ in range(3)]
    torch.manual_seed(4)
    assert first == [draw_seed() for _ in range(3)] and len(set(first)) == 3
