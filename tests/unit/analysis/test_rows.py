from __future__ import annotations

import pytest
import torch

from reluformer.analysis.rows import rows_of
from reluformer.config.model import kind_of
from reluformer.corpus.batches import Batch
from reluformer.memory.read import Observation


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("encoder.0.attention", "encoder_attention"),
        ("decoder.11.attention", "decoder_attention"),
        ("decoder.1.cross_attention", "cross_attention"),
        ("encoder.3.ffn", "ffn"),
        ("decoder.0.ffn", "ffn"),
    ],
)
def test_the_kind_of_a_place(place, kind):
    assert kind_of(place) == kind


# Two sequences: source of 3 and 2 tokens, target of 2 and 4; token 1 is a comma.
TGT = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0]])
BATCH = Batch(
    src=torch.tensor([[0, 1, 0], [0, 0, 0]]),
    src_mask=torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool),
    tgt_in=TGT,
    tgt_out=TGT,
    tgt_mask=torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool),
    real=torch.tensor([0, 1, 4, 5, 6, 7]),
)
COMMAS = torch.tensor([False, True])


def read_of(queries, slots, heads=2):
    """Returns a read whose weights encode their index: 1000·b + 100·h + 10·q + k."""
    b, h, q, k = torch.meshgrid(*(torch.arange(n) for n in (2, heads, queries, slots)), indexing="ij")
    weights = (1000 * b + 100 * h + 10 * q + k).float()
    tokens = (10 * torch.arange(2)[:, None] + torch.arange(queries)).float()[..., None]  # 10·b + q
    value = (10 * torch.arange(2)[:, None] + torch.arange(slots)).float()[:, None, :, None].expand(2, heads, slots, 1)
    return Observation(None, None, value, weights, None, None, output=tokens, residual=-tokens)


def test_cross_attention_masks_queries_by_target_and_slots_by_source():
    rows = rows_of("decoder.0.cross_attention", read_of(4, 3), BATCH, COMMAS)
    assert rows.weights.shape == (6, 2, 3)
    assert rows.weights[1, 1].tolist() == [110, 111, 112]
    assert rows.weights[2, 0].tolist() == [1000, 1001, 1002]
    assert rows.counts.tolist() == [3, 3, 2, 2, 2, 2]
    assert rows.output[:, 0].tolist() == [0, 1, 10, 11, 12, 13]
    assert rows.residual[:, 0].tolist() == [0, -1, -10, -11, -12, -13]
    assert rows.values[:, 0, 0].tolist() == [0, 1, 2, 10, 11]
    assert rows.distance is None
    assert rows.punctuation is not None
    assert rows.punctuation[:, 1].tolist() == [True, True, False, False, False, False]


def test_decoder_attention_sees_itself_and_what_is_before():
    rows = rows_of("decoder.0.attention", read_of(4, 4), BATCH, COMMAS)
    assert rows.counts.tolist() == [1, 2, 1, 2, 3, 4]
    assert rows.visible is not None
    assert rows.distance is not None
    assert rows.visible[1].tolist() == [True, True, False, False]
    assert rows.distance[5].tolist() == [3, 2, 1, 0]
    assert rows.punctuation is not None
    assert rows.punctuation[4].tolist() == [False, False, True, False]


def test_encoder_attention_sees_every_real_token():
    rows = rows_of("encoder.0.attention", read_of(3, 3), BATCH, COMMAS)
    assert rows.counts.tolist() == [3, 3, 3, 2, 2]
    assert rows.distance is not None
    assert rows.distance[4].tolist() == [1, 0, 1]


def test_ffn_rows_are_one_head_over_all_slots():
    weights = torch.arange(2 * 3 * 4).float().view(2, 3, 4).to(torch.bfloat16)
    tokens = torch.zeros(2, 3, 1)
    read = Observation(None, None, torch.ones(4, 1), weights, None, None, output=tokens, residual=tokens)
    rows = rows_of("encoder.1.ffn", read, BATCH, COMMAS)
    assert rows.weights.shape == (5, 1, 4)
    assert rows.weights.dtype == torch.float32
    assert rows.weights[3, 0].tolist() == [12, 13, 14, 15]
    assert rows.counts.tolist() == [4] * 5
    assert rows.visible is None


def test_shares_of_an_all_zero_row_are_zero(make_rows):
    rows = make_rows([[0.0, 0.0], [1.0, 3.0]])
    assert rows.alive[:, 0].tolist() == [False, True]
    assert rows.shares[:, 0].tolist() == [[0.0, 0.0], [0.25, 0.75]]
