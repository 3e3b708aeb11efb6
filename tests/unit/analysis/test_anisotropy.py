from __future__ import annotations

import pytest
import torch

from reluformer.analysis.anisotropy import Anisotropy


def learned(make_rows, values):
    measure = Anisotropy(learned=True)
    measure.update(make_rows(torch.ones(1, len(values)), values=torch.as_tensor(values)))
    return measure.result()["anisotropy"]


def test_parallel_orthogonal_and_opposite_vectors(make_rows):
    assert learned(make_rows, [[1.0, 2.0], [2.0, 4.0], [0.1, 0.2]]) == pytest.approx(1.0)
    assert learned(make_rows, torch.eye(5) * 7) == pytest.approx(0.0, abs=1e-12)
    assert learned(make_rows, [[1.0, 0.0], [-3.0, 0.0]]) == pytest.approx(-1.0)


def test_zero_vectors_have_no_direction(make_rows):
    assert learned(make_rows, [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]) == pytest.approx(1.0)
    assert learned(make_rows, [[1.0, 1.0], [0.0, 0.0]]) is None


def test_the_closed_form_is_the_mean_over_all_pairs(make_rows):
    values = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    unit = values / values.norm(dim=-1, keepdim=True)
    pairs = [float(unit[i] @ unit[j]) for i in range(30) for j in range(30) if i != j]
    assert learned(make_rows, values) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_a_learned_memory_counts_once(make_rows):
    measure = Anisotropy(learned=True)
    for _ in range(3):
        measure.update(make_rows(torch.ones(1, 2), values=torch.eye(2)))
    assert measure.result()["anisotropy"] == pytest.approx(0.0)


def test_token_values_are_gathered_over_batches_head_by_head(make_rows):
    # Head 0: the same direction in every batch. Head 1: orthogonal ones.
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    second = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])
    measure = Anisotropy(learned=False)
    measure.update(make_rows(torch.ones(1, 1), values=first))
    assert measure.result()["anisotropy"] is None
    measure.update(make_rows(torch.ones(1, 1), values=second))
    assert measure.result()["anisotropy"] == pytest.approx((1 + 0) / 2)
