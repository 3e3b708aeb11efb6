from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reluformer.analysis.accumulate import ColumnMean, Variance, finite


def test_a_number_that_json_cannot_hold_is_none():
    assert [finite(x) for x in (1.5, math.nan, math.inf, -math.inf)] == [1.5, None, None, None]


def test_means_leave_out_what_does_not_count():
    mean = ColumnMean()
    mean.add(torch.tensor([[1.0, math.nan], [3.0, 4.0]]), torch.tensor([[True, False], [True, True]]))
    mean.add(torch.tensor([[5.0, 6.0]]), torch.tensor([[True]]))
    assert mean.columns() == [3.0, 5.0]
    assert mean.pooled() == pytest.approx((1 + 3 + 5 + 4 + 6) / 5)


def test_means_of_nothing_are_none():
    mean = ColumnMean()
    assert mean.pooled() is None
    mean.add(torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.bool))
    assert (mean.pooled(), mean.columns()) == (None, [None])


def test_variance_does_not_depend_on_how_it_is_batched():
    random = np.random.default_rng(0)
    numbers = (random.normal(size=(50, 7)) * random.uniform(0.1, 9, size=(50, 1)) + 100).astype(np.float32)
    group = random.integers(0, 3, 50)
    variance = Variance(4)
    for part in np.split(np.arange(50), [1, 2, 20, 33]):
        variance.add(torch.from_numpy(numbers[part]), torch.from_numpy(group[part]))
    *filled, empty = variance.result()
    assert filled == pytest.approx([numbers[group == g].astype(np.float64).var() for g in range(3)], rel=1e-6)
    assert empty is None


def test_variance_of_a_constant_is_zero_and_of_nothing_none():
    variance = Variance()
    assert variance.result() == [None]
    variance.add(torch.full((3, 4), 1e4))
    variance.add(torch.full((2, 4), 1e4))
    assert variance.result() == [0.0]


def test_variance_of_nan_is_none():
    variance = Variance()
    variance.add(torch.tensor([[math.nan, 1.0]]))
    assert variance.result() == [None]


def test_variance_of_half_precision_does_not_overflow():
    variance = Variance()
    variance.add(torch.tensor([[300.0, -300.0]], dtype=torch.float16))  # 300² is more than float16 holds
    assert variance.result() == [90_000.0]
