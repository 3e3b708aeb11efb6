from __future__ import annotations

import math

import pytest
import torch

from reluformer.analysis.weights import RowMeans, is_punctuation


def means(*batches):
    measure = RowMeans()
    for rows in batches:
        measure.update(rows)
    return measure.result()


def attention(make_rows, weights, counts=None):
    """Rows of attention without commas and periods: weights [N, H, K]."""
    weights = torch.as_tensor(weights)
    return make_rows(weights, counts, punctuation=torch.zeros(len(weights), weights.shape[-1], dtype=torch.bool))


def test_entropy_of_equal_weights_is_log_n_whatever_their_sum(make_rows):
    measured = means(make_rows(torch.full((2, 8), 3.0)), make_rows(torch.full((1, 8), 0.125)))
    assert measured["entropy"] == pytest.approx(math.log(8))
    assert "entropy_by_head" not in measured  # an FFN has no heads


def test_entropy_of_one_slot_is_zero_and_all_zero_rows_are_left_out(make_rows):
    measured = means(attention(make_rows, [[[0, 5.0, 0]], [[0, 0, 0]]]))
    assert measured["entropy"] == 0.0 and measured["entropy_by_head"] == [0.0]


def test_entropy_by_head(make_rows):
    measured = means(attention(make_rows, [[[1.0, 1, 0, 0], [1, 1, 1, 1]], [[2, 2, 0, 0], [0, 0, 0, 0]]]))
    assert measured["entropy_by_head"] == pytest.approx([math.log(2), math.log(4)])
    assert measured["entropy"] == pytest.approx((2 * math.log(2) + math.log(4)) / 3)


def test_entropy_is_that_of_torch(make_rows):
    weights = torch.rand(20, 3, 50).pow(4)
    p = weights / weights.sum(-1, keepdim=True)
    expected = torch.special.entr(p.double()).sum(-1).mean()
    assert means(make_rows(weights))["entropy"] == pytest.approx(expected.item(), rel=1e-6)


def test_no_row_has_no_entropy(make_rows):
    assert means(make_rows(torch.zeros(2, 3)))["entropy"] is None


def test_zeros_are_counted_among_the_visible_slots(make_rows):
    weights = [[[1.0, 0, 0, 0]], [[1, 1, 0, 0]], [[0, 0, 0, 0]]]
    measured = means(attention(make_rows, weights, counts=[2, 4, 4]))
    assert measured["zero_share"] == pytest.approx((1 / 2 + 2 / 4 + 1) / 3)
    assert measured["zero_share_by_head"] == [measured["zero_share"]]


def test_weight_sum_and_all_zero_rows(make_rows):
    measured = means(make_rows([[1.0, 2.0], [0, 0]]), make_rows([[0.5, 0.5], [1.0, 0]]))
    assert measured["weight_sum"] == pytest.approx(5 / 4) and measured["zero_rows"] == 0.25


def self_attention(make_rows, weights, queries):
    slots = torch.arange(weights.shape[-1])
    distance = (torch.tensor(queries)[:, None] - slots).abs()
    return make_rows(weights, distance=distance, visible=torch.ones_like(distance, dtype=torch.bool))


def test_distance_under_weights_that_need_not_sum_to_one(make_rows):
    weights = torch.tensor([[4.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3.0, 1.0]])
    measured = means(self_attention(make_rows, weights, [3, 1, 2]))
    assert measured["distance"] == pytest.approx((3 + 0.25) / 2)
    assert measured["beyond"] == {"128": None, "256": None, "512": None}


def test_weight_beyond_counts_the_rows_that_see_so_far(make_rows):
    beyond = means(self_attention(make_rows, torch.ones(2, 300), [0, 150]))["beyond"]
    # Row 0 sees 171 of 300 slots beyond 128 and 43 beyond 256; row 150 sees 22 and 21 beyond 128, none beyond 256.
    assert beyond["128"] == pytest.approx((171 / 300 + (22 + 21) / 300) / 2, rel=1e-5)
    assert beyond["256"] == pytest.approx(43 / 300, rel=1e-5)
    assert beyond["512"] is None


def test_slots_that_a_row_may_not_see_are_not_in_reach(make_rows):
    distance = torch.arange(200)[None]
    rows = make_rows(torch.ones(1, 200) * (distance < 50), distance=distance, visible=distance < 50)
    assert means(rows)["beyond"]["128"] is None


def test_punctuation_share(make_rows):
    commas = torch.tensor([[False, True, False], [False, False, True], [True, True, True]])
    measured = means(make_rows([[1.0, 3.0, 0.0], [2.0, 0.0, 2.0], [0.0, 0.0, 0.0]], punctuation=commas))
    assert measured["punctuation_share"] == pytest.approx((0.75 + 0.5) / 2)


@pytest.mark.parametrize("piece", [",", ".", "▁,", "▁.", "...", ".,"])
def test_commas_and_periods(piece):
    assert is_punctuation(piece)


@pytest.mark.parametrize("piece", ["▁", "", "a.", "3,5", ";", "<sent>", "</s>"])
def test_everything_else(piece):
    assert not is_punctuation(piece)
