from __future__ import annotations

import math

import pytest
import torch

from reluformer.analysis.weights import (
    Anisotropy,
    LearnedSlots,
    RowMeans,
    TopShare,
    is_punctuation,
    top_share_of,
    top_shares,
)
from reluformer.config.metrics import SHARES


def means(*batches):
    measure = RowMeans()
    for rows in batches:
        measure.update(rows)
    return measure.result()


def attention(make_rows, weights, counts=None):
    """Returns attention rows of weights [N, H, K], without commas and periods."""
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


def shares(values, n=None):
    values = torch.as_tensor(values, dtype=torch.float32)
    curve = top_shares(values, torch.tensor(values.size(-1) if n is None else n))
    return dict(zip(SHARES, curve.tolist(), strict=True))


@pytest.mark.parametrize("n", [7, 512, 1000, 1024])
def test_equal_weights_give_exactly_p_percent(n):
    assert shares(torch.full((n,), 0.3)) == pytest.approx({p: float(p) / 100 for p in SHARES}, rel=1e-4)


def test_one_slot_holds_all_from_the_first_whole_slot_on():
    weights = torch.zeros(1000)
    weights[17] = 4.0
    assert set(shares(weights).values()) == {1.0}
    half = shares(weights[:500])  # 0.1 % of 500 slots is half a slot
    assert (half["0.1"], half["0.2"]) == (0.5, 1.0)


def test_between_whole_slots_the_curve_is_a_line():
    values = torch.zeros(10)
    values[[3, 8, 1]] = torch.tensor([6.0, 3.0, 1.0])
    curve = shares(values)
    assert curve["5"] == pytest.approx(0.3)  # half of the first slot
    assert curve["10"] == pytest.approx(0.6)
    assert curve["20"] == pytest.approx(0.9)
    assert curve["50"] == curve["100"] == 1.0


def test_hidden_slots_do_not_count():
    assert shares([1.0, 1, 1, 1, 0, 0], n=4) == pytest.approx({p: float(p) / 100 for p in SHARES})


def test_no_weight_has_no_share():
    assert set(shares(torch.zeros(5)).values()) == {0.0}
    assert set(top_share_of(torch.zeros(5)).values()) == {None}


def test_each_row_is_ranked_by_itself(make_rows):
    measure = TopShare(every=1)
    measure.update(make_rows(torch.eye(10) * 3))
    measure.update(make_rows(torch.zeros(2, 10)))  # left out
    assert measure.result()["top_share"] == pytest.approx({p: min(float(p) / 10, 1.0) for p in SHARES})


def test_heads_are_rows_of_their_own(make_rows):
    weights = torch.tensor([[[1.0, 1, 1, 1], [8, 0, 0, 0]]])
    measure = TopShare(every=1)
    measure.update(make_rows(weights))
    assert measure.result()["top_share"]["50"] == pytest.approx((0.5 + 1) / 2)


def test_every_third_token_of_the_stream_is_sampled(make_rows):
    rows = torch.eye(10)
    rows[::3] = 1.0  # equal weights in exactly the sampled rows
    whole, parts = TopShare(every=3), TopShare(every=3)
    whole.update(make_rows(rows))
    for part in (rows[:2], rows[2:3], rows[3:4], rows[4:9], rows[9:]):
        parts.update(make_rows(part))
    assert whole.result()["top_share"]["10"] == pytest.approx(0.1)
    assert parts.result() == whole.result()


def learned(make_rows, *batches, values=((1.0, 0.0), (0.0, 1.0))):
    measure = LearnedSlots()
    for weights in batches or (torch.ones(1, len(values)),):
        measure.update(make_rows(weights, values=torch.as_tensor(values)))
    return measure.result()


def test_slots_are_used_if_any_token_ever_uses_them(make_rows):
    first = [[1.0, 0, 0, 0], [1, 0, 0, 0]]
    use = learned(make_rows, first)
    assert (use["used_slots"], use["effective_slots"]) == (0.25, 0.25)
    use = learned(make_rows, first, [[0.0, 9.0, 1.0, 0], [0, 0, 0, 0]])  # 10 % of the weight: less than the even 25 %
    assert (use["used_slots"], use["effective_slots"]) == (0.75, 0.5)


def test_equal_weights_use_every_slot(make_rows):
    use = learned(make_rows, torch.full((1, 768), 1 / 768))
    assert (use["used_slots"], use["effective_slots"]) == (1.0, 1.0)


def test_value_norms(make_rows):
    assert learned(make_rows, values=[[3.0, 4.0], [0.0, 0.0]])["value_norm_top_share"]["50"] == 1.0
    assert learned(make_rows, values=[[3.0, 4.0], [-5.0, 0.0]])["value_norm_top_share"]["50"] == pytest.approx(0.5)


def cosine(*batches):
    """Returns the anisotropy of value vectors [M, D] of one head, or [M, H, D]."""
    measure = Anisotropy()
    for values in map(torch.as_tensor, batches):
        measure.add(values[:, None] if values.dim() == 2 else values)
    return measure.result()["anisotropy"]


def test_parallel_orthogonal_and_opposite_vectors():
    assert cosine([[1.0, 2.0], [2.0, 4.0], [0.1, 0.2]]) == pytest.approx(1.0)
    assert cosine(torch.eye(5) * 7) == pytest.approx(0.0, abs=1e-12)
    assert cosine([[1.0, 0.0], [-3.0, 0.0]]) == pytest.approx(-1.0)


def test_zero_vectors_have_no_direction():
    assert cosine([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]) == pytest.approx(1.0)
    assert cosine([[1.0, 1.0], [0.0, 0.0]]) is None


def test_the_closed_form_is_the_mean_over_all_pairs():
    values = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    unit = values / values.norm(dim=-1, keepdim=True)
    pairs = [float(unit[i] @ unit[j]) for i in range(30) for j in range(30) if i != j]
    assert cosine(values) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_a_learned_memory_counts_once(make_rows):
    assert learned(make_rows, *[torch.ones(1, 2)] * 3)["anisotropy"] == pytest.approx(0.0)


def test_token_values_are_gathered_over_batches_head_by_head(make_rows):
    # Head 0: the same direction in every batch. Head 1: orthogonal ones.
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    second = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])
    assert cosine(first) is None
    assert cosine(first, second) == pytest.approx((1 + 0) / 2)
