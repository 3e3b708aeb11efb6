from __future__ import annotations

import torch

from reluformer.memory.mask import AttentionMask, RowMask

KEYS = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
LIKE = torch.zeros(1)


def test_counts_are_the_papers_n():
    assert AttentionMask(7).count(3, LIKE) == 7
    assert AttentionMask(4, KEYS).count(2, LIKE).flatten().tolist() == [3, 1, 1]  # at least 1, so that √(2/n) is finite
    assert AttentionMask(4, causal=True).count(4, LIKE).flatten().tolist() == [1, 2, 3, 4]
    counts = AttentionMask(4, KEYS, causal=True).count(4, LIKE)
    assert counts.shape == (3, 1, 4, 1)
    assert counts[0].flatten().tolist() == [1, 2, 3, 3]


def test_causal_rows_are_the_last_of_the_slots():
    assert AttentionMask(4, causal=True).mask(2)[0, 0].tolist() == [[True, True, True, False], [True] * 4]


def test_counts_are_at_least_single_precision():
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert AttentionMask(4, KEYS).count(1, torch.zeros(1, dtype=dtype)).dtype == wide


def test_bias_hides_without_overflow():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        bias = AttentionMask(4, KEYS).bias(2, torch.zeros(1, dtype=dtype))
        assert bias.dtype == dtype and bias.shape == (3, 1, 1, 4)
        assert (bias + bias).isfinite().all()
        assert torch.equal(bias[:, 0, 0] == 0, KEYS)
    assert AttentionMask(4).bias(2, LIKE) is None


def test_select_follows_the_batch():
    chosen = AttentionMask(4, KEYS).select(torch.tensor([1, 1, 0]))
    assert chosen.count(1, LIKE).flatten().tolist() == [1, 1, 3]
    assert chosen.some().flatten().tolist() == [True, True, True]
    assert AttentionMask(4, KEYS).some().flatten().tolist() == [True, True, False]
    whole = AttentionMask(4)
    assert whole.select(torch.tensor([0])) is whole and whole.some() is None


def test_marks_list_the_slots_of_each_row():
    marks = torch.tensor([[[True, False, True], [False, True, True]]])
    marked = RowMask(marks, torch.tensor(2))
    assert marked.slots == 3 and torch.equal(marked.mask(2), marks[:, None])
    assert torch.equal(marked.bias(2, LIKE)[:, 0] == 0, marks)
    assert marked.count(2, LIKE.bfloat16()).dtype == torch.float32 and marked.count(2, LIKE) == 2
    assert marked.count(2, LIKE.double()).dtype == torch.float64
    assert marked.some() is None
    assert torch.equal(marked.select(torch.tensor([0, 0])).mask(2), marks.expand(2, -1, -1)[:, None])
