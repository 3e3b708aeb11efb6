"""A map as text: dark where the weight is, tokens beside and above, and never wider than the terminal."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len

from reluformer.analysis.ascii_map import shaded


def test_cells_are_the_darker_the_larger_their_weight():
    weights = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 0.01]])
    assert shaded(weights, ["▁ab", "c"], ["x", "yz", "w"], 80).splitlines() == [
        "      y",
        "    x z w",
        "▁ab   ░░▒▒",
        "  c ▓▓██░░",
    ]


def test_what_does_not_fit_goes_on_below_and_labels_are_cut():
    weights = np.ones((2, 30))
    text = shaded(weights, ["a" * 40, "中文"], [f"k{i}" for i in range(30)], 40)
    assert max(map(cell_len, text.splitlines())) <= 40
    blocks = text.split("\n\n")
    assert len(blocks) == 3 and sum(block.splitlines()[-1].count("█") for block in blocks) == 2 * 30


def test_a_map_without_any_weight_is_blank():
    assert shaded(np.zeros((1, 2)), ["a"], ["x", "y"], 80).splitlines() == ["  x y", "a"]
