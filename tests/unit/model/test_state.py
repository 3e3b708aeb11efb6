from __future__ import annotations

import torch

from reluformer.memory.mask import AttentionMask
from reluformer.model.state import State


def state(capacity=4):
    """Two layers, three sources of five tokens, one head of width 2."""
    source = torch.arange(2 * 2 * 3 * 1 * 5 * 2).view(2, 2, 3, 1, 5, 2).float()
    keys = torch.ones(3, 5, dtype=torch.bool)
    keys[2, 4:] = False
    return State([(key.clone(), value.clone()) for key, value in source], AttentionMask(5, keys), capacity)


def put(s, layer, numbers):
    """One more token for each row, whose key is its number and whose value is the opposite."""
    s.advance()
    key = torch.tensor(numbers).float().view(s.sources, 1, s.width, 1).expand(-1, -1, -1, 2)
    return s.extend(layer, key, -key)


def seen(s, layer=0):
    """The numbers that each row sees, by what a query of ones reads."""
    key, value = s.target[layer]
    rows = []
    for source, paths in enumerate(s.path):
        for path in paths:
            assert torch.equal(key[source, 0, path], -value[source, 0, path])
            rows.append(key[source, 0, path, 0].int().tolist())
    return rows


def test_grows_without_losing_what_was_written():
    s = state(capacity=2)
    for i in range(40):
        key, value = put(s, 1, [i, 100 + i, 200 + i])
        assert torch.equal(key.path, value.path) and key.path.shape == (3, 1, i + 1)
    assert s.position == 40
    assert seen(s, layer=1) == [[100 * source + i for i in range(40)] for source in range(3)]


def test_rows_are_reordered_repeated_and_dropped_without_moving_their_slots():
    s = state(capacity=64)
    put(s, 0, [1, 2, 3])
    before = s.target[0][0]
    s.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert (len(s), s.sources, s.width) == (6, 3, 2)
    put(s, 0, [10, 11, 20, 21, 30, 31])
    s.select(torch.tensor([1, 0, 2, 2, 5, 4]))
    put(s, 0, [12, 13, 22, 23, 32, 33])
    assert s.target[0][0] is before
    assert seen(s) == [[1, 11, 12], [1, 10, 13], [2, 20, 22], [2, 20, 23], [3, 31, 32], [3, 30, 33]]


def test_a_source_that_ends_gives_its_place_to_another_and_no_other_moves():
    s = state()
    put(s, 0, [1, 2, 3])
    s.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    put(s, 0, [10, 11, 20, 21, 30, 31])
    source, memory = s.source[1][1].clone(), s.target[0][0].data_ptr()
    s.select(torch.tensor([5, 4, 3, 3]))
    assert (len(s), s.sources) == (4, 2)
    assert s.target[0][0].data_ptr() == memory
    assert seen(s) == [[3, 31], [3, 30], [2, 21], [2, 21]]
    assert torch.equal(s.source[1][1], source[[2, 1]])
    assert s.visible.keys.sum(1).tolist() == [4, 5]


def test_unequal_numbers_of_rows_get_sources_of_their_own():
    s = state()
    put(s, 0, [1, 2, 3])
    source = s.source[0][0].clone()
    s.select(torch.tensor([2, 0, 0, 1]))
    assert (len(s), s.sources) == (4, 4)
    assert torch.equal(s.source[0][0], source[[2, 0, 0, 1]])
    put(s, 0, [30, 10, 11, 20])
    s.select(torch.tensor([0, 2]))
    assert seen(s) == [[3, 30], [1, 11]]
    assert torch.equal(s.source[0][0], source[[2, 0]])
