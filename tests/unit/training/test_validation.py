from __future__ import annotations

import torch

from reluformer.corpus.subword import EOS
from reluformer.training.validation import MAX_EXTRA, MAX_RATIO, greedy


class Counter:
    """A stand-in for a model: sentence b says 10, 11, … and ends after b tokens; the last never ends."""

    def start(self, src, src_mask):
        self.said = torch.zeros(src.size(0), dtype=torch.long)
        return self

    def step(self, tokens, state):
        rows = torch.arange(len(tokens))
        best = torch.where((self.said == rows) & (rows < len(rows) - 1), EOS, 10 + self.said)
        self.said += 1
        return torch.nn.functional.one_hot(best, 100).float()


def test_greedy_says_nothing_of_a_blank_source():
    src, mask = torch.ones(3, 4, dtype=torch.long), torch.ones(3, 4, dtype=torch.bool)
    mask[2, 1:] = False  # nothing but EOS
    assert greedy(Counter(), src, mask) == [[], [10], []]


def test_greedy_stops_each_sentence_at_its_end():
    src = torch.ones(3, 4, dtype=torch.long)
    first, second, endless = greedy(Counter(), src, src.bool())
    assert first == [] and second == [10]
    assert len(endless) == int(MAX_RATIO * 4) + MAX_EXTRA
