"""Eq. 7 on rows with known values; `test_read` compares it with loops."""

from __future__ import annotations

import math

import pytest
import torch

from reluformer.config.memory import PenaltyConfig
from reluformer.memory.penalty import LEAST_SUM, Penalty, RowSums


def call(penalty, weights, n, rows=None):
    return penalty(*RowSums.apply(weights), n, rows)


def penalty_of(row, n=None, **config):
    weights = torch.tensor([[row]], dtype=torch.float64)
    return call(Penalty(PenaltyConfig(weight=1.0, **config)), weights, n or len(row)).item()


def test_hand_made_rows():
    uniform = [0.25] * 4
    assert penalty_of(uniform) == pytest.approx(0.3 * math.log(4))  # Σs = 1; H = log 4; C = 0.7 log 4
    assert penalty_of(uniform, entropy=False) == pytest.approx(0)
    assert penalty_of([1.0, 0, 0, 0]) == pytest.approx(0)  # one-hot: no entropy, sum 1
    assert penalty_of([3.0, 0, 0, 0]) == pytest.approx(math.log(3))
    assert penalty_of([1 / 3, 0, 0, 0]) == pytest.approx(math.log(3))  # the absolute value
    assert penalty_of([2.0, 2.0, 0, 0], normalisation=False) == 0  # H = log 2 < 0.7 log 4
    assert penalty_of([2.0, 2.0, 0, 0], normalisation=False, margin=0.25) == pytest.approx(0.5 * math.log(2))


def test_without_absolute_the_first_term_is_the_signed_logarithm():
    assert penalty_of([3.0, 0, 0, 0], absolute=False) == pytest.approx(math.log(3))
    assert penalty_of([1 / 3, 0, 0, 0], absolute=False) == pytest.approx(-math.log(3))
    assert penalty_of([1 / 3, 0, 0, 0], absolute=False, normalisation=False) == 0


def test_entropy_of_raw_weights():
    raw = penalty_of([0.5, 0.5], normalisation=False, margin=0, entropy_of="raw")
    assert raw == pytest.approx(math.log(2))
    assert penalty_of([0.2, 0.2], normalisation=False, margin=0, entropy_of="raw") == pytest.approx(
        -0.4 * math.log(0.2)
    )
    assert penalty_of([0.2, 0.2], normalisation=False, margin=0) == pytest.approx(math.log(2))


def test_an_all_zero_row_is_bounded_and_has_no_entropy():
    assert penalty_of([0.0, 0.0]) == pytest.approx(-math.log(LEAST_SUM))
    assert penalty_of([0.0, 0.0], absolute=False) == pytest.approx(math.log(LEAST_SUM))
    assert penalty_of([0.0, 0.0], normalisation=False, margin=0) == 0


def test_one_visible_slot_allows_no_entropy():
    assert penalty_of([1.0, 0.0, 0.0], n=1) == 0


def test_the_penalty_is_the_mean_over_real_rows_and_heads():
    weights = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    penalty = Penalty(PenaltyConfig(weight=0.5))
    rows = torch.tensor([[True, True, False, False], [True, False, False, False]])
    real = [(0, 0), (0, 1), (1, 0)]
    by_row = [call(penalty, weights[b : b + 1, h : h + 1, i : i + 1], 5).item() for b, i in real for h in range(3)]
    assert call(penalty, weights, 5, rows).item() == pytest.approx(sum(by_row) / 9)
    assert call(penalty, weights[:, 0], 5, rows).item() == pytest.approx(sum(by_row[::3]) / 3)
    assert call(penalty, weights, 5, torch.zeros(2, 4, dtype=torch.bool)).item() == 0


def test_weight_is_lambda():
    weights = torch.rand(1, 1, 2, 5)
    full, half = (call(Penalty(PenaltyConfig(weight=w)), weights, 5).item() for w in (1.0, 0.5))
    assert half == pytest.approx(full / 2)


def test_row_sums_are_accumulated_in_single_precision():
    weights = torch.full((1, 4096), 1 / 4096, dtype=torch.bfloat16, requires_grad=True)
    total, logs = RowSums.apply(weights)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(1, rel=1e-5)
    assert logs.item() == pytest.approx(-math.log(4096), rel=1e-5)
    (total + logs).sum().backward()
    assert weights.grad.dtype == torch.bfloat16 and weights.grad.isfinite().all()


def test_row_sums_gradients():
    weights = torch.rand(3, 4, dtype=torch.float64).add_(0.1).requires_grad_()
    assert torch.autograd.gradcheck(RowSums.apply, (weights,))


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("weight", [0.0, 1e-6, 1e-30])
def test_weights_near_zero_have_bounded_gradients(weight, absolute):
    weights = torch.full((1, 1, 1, 3), weight, requires_grad=True)
    call(Penalty(PenaltyConfig(weight=1.0, absolute=absolute)), weights, 3).backward()
    assert weights.grad.isfinite().all() and weights.grad.abs().max() <= 1 / LEAST_SUM
