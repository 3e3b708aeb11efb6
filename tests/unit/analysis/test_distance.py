from __future__ import annotations

import pytest
import torch

from reluformer.analysis.distance import Distance, Punctuation, is_punctuation


def self_attention(make_rows, weights, queries):
    slots = torch.arange(weights.shape[-1])
    distance = (torch.tensor(queries)[:, None] - slots).abs()
    return make_rows(weights, distance=distance, visible=torch.ones_like(distance, dtype=torch.bool))


def test_distance_under_weights_that_need_not_sum_to_one(make_rows):
    weights = torch.tensor([[4.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3.0, 1.0]])
    measure = Distance()
    measure.update(self_attention(make_rows, weights, [3, 1, 2]))
    assert measure.result()["distance"] == pytest.approx((3 + 0.25) / 2)
    assert measure.result()["beyond"] == {"128": None, "256": None, "512": None}


def test_weight_beyond_counts_the_rows_that_see_so_far(make_rows):
    weights = torch.ones(2, 300)
    measure = Distance()
    measure.update(self_attention(make_rows, weights, [0, 150]))
    # Row 0 sees 171 of 300 slots beyond 128 and 43 beyond 256; row 150 sees 22 and 21 beyond 128, none beyond 256.
    assert measure.result()["beyond"]["128"] == pytest.approx((171 / 300 + (22 + 21) / 300) / 2, rel=1e-5)
    assert measure.result()["beyond"]["256"] == pytest.approx(43 / 300, rel=1e-5)
    assert measure.result()["beyond"]["512"] is None


def test_slots_that_a_row_may_not_see_are_not_in_reach(make_rows):
    distance = torch.arange(200)[None]
    rows = make_rows(torch.ones(1, 200) * (distance < 50), distance=distance, visible=distance < 50)
    measure = Distance()
    measure.update(rows)
    assert measure.result()["beyond"]["128"] is None


def test_punctuation_share(make_rows):
    commas = torch.tensor([[False, True, False], [False, False, True], [True, True, True]])
    measure = Punctuation()
    measure.update(make_rows([[1.0, 3.0, 0.0], [2.0, 0.0, 2.0], [0.0, 0.0, 0.0]], punctuation=commas))
    assert measure.result() == {"punctuation_share": pytest.approx((0.75 + 0.5) / 2)}


@pytest.mark.parametrize("piece", [",", ".", "▁,", "▁.", "...", ".,"])
def test_commas_and_periods(piece):
    assert is_punctuation(piece)


@pytest.mark.parametrize("piece", ["▁", "", "a.", "3,5", ";", "<sent>", "</s>"])
def test_everything_else(piece):
    assert not is_punctuation(piece)
