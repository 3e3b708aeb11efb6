from __future__ import annotations

import torch

from reluformer.corpus.subword import EOS
from reluformer.memory.read import Observation
from reluformer.model.example import small_reluformer
from reluformer.training.validation import MAX_EXTRA, MAX_RATIO, dead_keys, greedy


class Counter:
    """A stand-in for a model: sentence b is 10, 11, … and ends after b tokens; the last never ends."""

    def start(self, src, src_mask):
        self.lengths = torch.zeros(src.size(0), dtype=torch.long)
        self.rows, self.last = torch.arange(src.size(0)), src.size(0) - 1
        return self

    def select(self, rows):
        self.lengths, self.rows = self.lengths[rows], self.rows[rows]

    def step(self, tokens, state):
        best = torch.where((self.lengths == self.rows) & (self.rows < self.last), EOS, 10 + self.lengths)
        self.lengths += 1
        return torch.nn.functional.one_hot(best, 100).float()


def test_greedy_gives_nothing_for_a_blank_source():
    src, mask = torch.ones(3, 4, dtype=torch.long), torch.ones(3, 4, dtype=torch.bool)
    mask[2, 1:] = False  # nothing but EOS
    assert greedy(Counter(), src, mask) == [[], [10], []]


def test_greedy_stops_each_sentence_at_its_end():
    src = torch.ones(3, 4, dtype=torch.long)
    first, second, endless = greedy(Counter(), src, src.bool())
    assert first == [] and second == [10]
    assert len(endless) == int(MAX_RATIO * 4) + MAX_EXTRA


def test_a_sentence_is_decoded_alike_alone_and_in_a_batch():
    torch.manual_seed(0)
    model = small_reluformer("cpu")
    src = torch.randint(3, 20, (9, 24))
    mask = torch.arange(24) < torch.tensor([24, 3, 2, 9, 1, 24, 5, 2, 12])[:, None]
    with torch.no_grad():
        together = greedy(model, src, mask)
        for row, hypothesis in enumerate(together):
            length = int(mask[row].sum())
            assert greedy(model, src[row : row + 1, :length], mask[row : row + 1, :length]) == [hypothesis]
    lengths = [len(hypothesis) for hypothesis in together]
    assert lengths[4] == 0 and max(lengths) == int(MAX_RATIO * 24) + MAX_EXTRA and len(set(lengths)) > 3


def test_dead_keys_are_those_that_no_row_gives_weight():
    """Two sequences of 3 keys and two heads; the second has a padded key and a padded row."""
    weights = torch.tensor(
        [
            [[[1.0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]],  # dead: two of three, three of three
            [[[0, 1, 9], [9, 9, 9]], [[1, 1, 9], [9, 9, 9]]],  # dead: one of two, none of two
        ]
    )
    mask = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    mask[1, :, :, 2] = mask[1, :, 1] = False
    read = Observation(*(None,) * 3, weights, mask, None, None)
    assert dead_keys(read).tolist() == [6, 10]
    assert dead_keys(read._replace(weights=weights[0])).tolist() == [0, 0]  # an FFN
