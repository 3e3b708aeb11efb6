from __future__ import annotations

import pytest
import torch

from reluformer.ops.counter import draw_seed, dropout_mask


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_drops_this_share_and_keeps_the_mean(probability):
    mask = dropout_mask(3, (2, 4, 100, 200), probability)
    assert (mask == 0).double().mean().item() == pytest.approx(probability, abs=0.005)
    assert mask[mask != 0].unique().tolist() == pytest.approx([1 / (1 - probability)], rel=1e-6)


def test_neighbours_and_seeds_are_independent():
    """Correlations of places side by side in every dimension, and of two seeds, are those of chance."""
    kept = (dropout_mask(1, (4, 4, 128, 128), 0.5) != 0).double()
    other = (dropout_mask(2, (4, 4, 128, 128), 0.5) != 0).double()
    pairs = [(kept, other)] + [
        (kept.narrow(dim, 0, kept.size(dim) - 1), kept.narrow(dim, 1, kept.size(dim) - 1)) for dim in range(4)
    ]
    for one, two in pairs:
        assert abs(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]) < 0.01


def test_rows_and_columns_are_uniform():
    """No row, slot or head is dropped more than others: sums have the binomial's spread."""
    dropped = (dropout_mask(5, (1, 8, 256, 256), 0.25) == 0).double()
    for dim in (-1, -2):
        assert dropped.sum(dim).var().item() == pytest.approx(256 * 0.25 * 0.75, rel=0.1)


def test_seeds_come_from_torchs_generator():
    torch.manual_seed(4)
    first = [draw_seed() for _ in range(3)]
    torch.manual_seed(4)
    assert first == [draw_seed() for _ in range(3)] and len(set(first)) == 3
