from __future__ import annotations

import math

import pytest
import torch

from reluformer.analysis.entropy import Entropy, Mass, ZeroShare


def result(measure, *batches):
    for rows in batches:
        measure.update(rows)
    return measure.result()


def test_entropy_of_equal_weights_is_log_n_whatever_their_sum(make_rows):
    found = result(Entropy(by_head=False), make_rows(torch.full((2, 8), 3.0)), make_rows(torch.full((1, 8), 0.125)))
    assert found == {"entropy": pytest.approx(math.log(8))}


def test_entropy_of_one_slot_is_zero_and_all_zero_rows_are_left_out(make_rows):
    found = result(Entropy(by_head=True), make_rows([[0, 5.0, 0], [0, 0, 0]]))
    assert found == {"entropy": 0.0, "entropy_by_head": [0.0]}


def test_entropy_by_head(make_rows):
    weights = torch.tensor([[[1.0, 1, 0, 0], [1, 1, 1, 1]], [[2, 2, 0, 0], [0, 0, 0, 0]]])
    found = result(Entropy(by_head=True), make_rows(weights))
    assert found["entropy_by_head"] == pytest.approx([math.log(2), math.log(4)])
    assert found["entropy"] == pytest.approx((2 * math.log(2) + math.log(4)) / 3)


def test_entropy_is_that_of_torch(make_rows):
    weights = torch.rand(20, 3, 50).pow(4)
    p = weights / weights.sum(-1, keepdim=True)
    expected = torch.special.entr(p.double()).sum(-1).mean()
    assert result(Entropy(by_head=False), make_rows(weights))["entropy"] == pytest.approx(expected.item(), rel=1e-6)


def test_no_row_has_no_entropy(make_rows):
    assert result(Entropy(by_head=False), make_rows(torch.zeros(2, 3))) == {"entropy": None}


def test_zeros_are_counted_among_the_visible_slots(make_rows):
    weights = [[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    found = result(ZeroShare(by_head=True), make_rows(weights, counts=[2, 4, 4]))
    assert found["zero_share"] == pytest.approx((1 / 2 + 2 / 4 + 1) / 3)
    assert found["zero_share_by_head"] == [found["zero_share"]]
    assert set(result(ZeroShare(by_head=False))) == {"zero_share"}


def test_mass_and_all_zero_rows(make_rows):
    found = result(Mass(), make_rows([[1.0, 2.0], [0, 0]]), make_rows([[0.5, 0.5], [1.0, 0]]))
    assert found == {"weight_sum": pytest.approx(5 / 4), "zero_rows": 0.25}
