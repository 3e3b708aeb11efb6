from __future__ import annotations

import math

import entmax
import pytest
import torch

from reluformer.config.memory import ACTIVATIONS, MemoryConfig
from reluformer.memory import activations
from reluformer.memory.activations import NARROW_HEAD, SHORT, ScaledReLU, Softmax, build_activation
from reluformer.memory.backends import AttentionOptions
from reluformer.memory.mask import AttentionMask
from reluformer.memory.read import read


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_slots_have_zero_weight(name):
    built = build_activation(MemoryConfig(activation=name))
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        scores = torch.tensor([[1.0, 2.0, 0.5, torch.finfo(dtype).min / 2]], dtype=dtype)
        weights = built(scores)
        assert weights.dtype == dtype
        assert weights[0, 3] == 0 and weights[0, :3].sum() > 0


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15"])
def test_normalised_rows_sum_to_one(name):
    built = build_activation(MemoryConfig(activation=name))
    assert built.normalised
    torch.testing.assert_close(built(torch.randn(5, 9).mul(3)).sum(-1), torch.ones(5))


def test_sparse_activations_equal_entmax():
    scores = torch.randn(4, 6, dtype=torch.float64) * 3
    for name, exact in (("sparsemax", entmax.sparsemax), ("entmax15", entmax.entmax15)):
        torch.testing.assert_close(
            build_activation(MemoryConfig(activation=name))(scores.clone()), exact(scores, dim=-1)
        )


def test_factor_of_equation_6():
    assert ScaledReLU(gamma=0.5).factor(8) == pytest.approx(1 / (0.5 * math.sqrt(4)))
    counts = torch.tensor([2.0, 8.0, 32.0])
    torch.testing.assert_close(ScaledReLU(gamma=2.0).factor(counts), torch.tensor([0.5, 0.25, 0.125]))
    assert torch.equal(counts, torch.tensor([2.0, 8.0, 32.0]))


def test_learned_gamma_is_one_per_head_and_starts_at_one():
    built = build_activation(MemoryConfig(activation="relu-scaled", options={"gamma": "learned"}), heads=4)
    torch.testing.assert_close(built.factor(2), torch.ones(4, 1, 1))
    with torch.no_grad():
        built.log_gamma.copy_(torch.tensor([0.25, 0.5, 1, 2]).log().view(4, 1, 1))
    torch.testing.assert_close(built.factor(8).flatten(), torch.tensor([2.0, 1.0, 0.5, 0.25]))


def test_softmax_uses_torchs_kernel_unless_it_would_be_slower():
    softmax = Softmax(3)

    def is_fused(length, width, dropout=0.0, dtype=torch.float32):
        query = torch.randn(2, 3, length, width, dtype=dtype)
        return softmax.fused(query, AttentionMask(length), AttentionOptions(dropout=dropout)) is not None

    assert is_fused(SHORT + 1, 8) and is_fused(4, NARROW_HEAD + 1) and not is_fused(SHORT, NARROW_HEAD)
    assert not is_fused(SHORT + 1, 8, dropout=0.1) and not is_fused(SHORT + 1, 8, dtype=torch.bfloat16)


@pytest.mark.parametrize("causal", [False, True])
def test_softmax_is_the_same_fused_or_not(causal, monkeypatch):
    torch.manual_seed(0)
    tensors = [torch.randn(3, 2, 30, 16, requires_grad=True) for _ in range(3)]
    keys = torch.ones(3, 30, dtype=torch.bool)
    keys[1, 20:] = False
    keys[2] = False
    results = []
    for short in (SHORT, 0):
        monkeypatch.setattr(activations, "SHORT", short)
        output = read(*tensors, Softmax(2), AttentionMask(30, keys, causal), scale=0.25).output
        results.append((output, *torch.autograd.grad(output.square().sum(), tensors)))
    torch.testing.assert_close(*results)
    assert not results[0][0][2].any() and results[0][0][:2].any(-1).all()


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15"])
def test_temperature_divides_the_scores(name):
    assert build_activation(MemoryConfig(activation=name, options={"temperature": 4})).factor(3) == 0.25


@pytest.mark.parametrize(("name", "slope"), [("softmax", 1 / 16), ("entmax15", 1 / 4), ("sparsemax", 1.0)])
@pytest.mark.parametrize("temper", [False, True])
def test_temperature_gives_a_uniform_row_the_slope_of_softmax(name, slope, temper):
    """Of n = 16 equal weights, the slope in the own score is 1/n for softmax, 1/√n for 1.5-entmax, 1 for sparsemax."""
    built = build_activation(MemoryConfig(activation=name, options={"temperature": 16 * slope if temper else 1.0}))
    weights = torch.autograd.functional.jacobian(lambda s: built(s * built.factor(16)), torch.zeros(1, 16).double())
    own = weights.squeeze().diagonal()
    torch.testing.assert_close(own, torch.full_like(own, (1 / 16 if temper else slope) * 15 / 16))


@pytest.mark.parametrize("length", [65, 130, 300])
@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
def test_sorting_a_few_scores_is_as_exact_as_sorting_all(length, spread):
    """With small spreads hundreds of slots have weight, far more than the first partial sort covers."""
    torch.manual_seed(length)
    scores = torch.randn(7, length, dtype=torch.float64, requires_grad=True)
    for name, exact in (("sparsemax", entmax.sparsemax), ("entmax15", entmax.entmax15)):
        ours = build_activation(MemoryConfig(activation=name))(scores * spread)
        theirs = exact(scores * spread, dim=-1)
        torch.testing.assert_close(ours, theirs)
        grad = torch.randn_like(ours)
        gradients = (torch.autograd.grad(weights, scores, grad)[0] for weights in (ours, theirs))
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_undefined_scores_give_undefined_weights_and_no_error(name, bad):
    """A diverging training must be recognised as diverged with every activation; σ(∞) = 1 is defined."""
    scores = torch.randn(3, 300)
    scores[1, 2] = bad
    weights = build_activation(MemoryConfig(activation=name))(scores.requires_grad_() * 1)
    assert weights[1].isfinite().all() == (name == "sigmoid" and bad == math.inf)
    assert weights[[0, 2]].isfinite().all()
    weights.sum().backward()
