from __future__ import annotations

import torch

from reluformer.memory.visible import Visible
from reluformer.model.state import State


def state(capacity=4):
    source = torch.arange(2 * 2 * 3 * 1 * 5 * 2).view(2, 2, 3, 1, 5, 2).float()
    return State([(key, value) for key, value in source], Visible(5, torch.ones(3, 5, dtype=torch.bool)), capacity)


def test_grows_without_losing_what_was_written():
    s = state(capacity=2)
    for i in range(40):
        s.advance()
        key, value = s.target_slots(1)
        assert key.shape == (3, 1, i + 1, 2)
        key[:, :, -1], value[:, :, -1] = i, -i
    key, value = s.target_slots(1)
    assert torch.equal(key[0, 0, :, 0], torch.arange(40.0)) and torch.equal(value, -key)
    assert not s.target_slots(0)[0].any()


def test_select_takes_every_part_along():
    s = state()
    s.advance()
    s.target_slots(0)[0][:, 0, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    before = s.source_slots(1)[1]
    s.select(torch.tensor([2, 0, 0, 1]))
    assert len(s) == 4
    assert s.target_slots(0)[0][:, 0, 0, 0].tolist() == [3, 1, 1, 2]
    assert torch.equal(s.source_slots(1)[1], before[[2, 0, 0, 1]])
    assert s.visible.keys.shape == (4, 5)


def test_rows_of_one_source_share_it():
    s = state()
    s.advance()
    before = s.source_slots(0)[0]
    s.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert (len(s), s.sources) == (6, 3)
    assert s.source_slots(0)[0] is before
    s.target_slots(0)[0][:, 0, 0, 0] = torch.arange(6.0)
    s.select(torch.tensor([3, 2, 5, 5]))
    assert (len(s), s.sources) == (4, 2)
    assert torch.equal(s.source_slots(0)[0], before[[1, 2]])
    assert s.target_slots(0)[0][:, 0, 0, 0].tolist() == [3, 2, 5, 5]
    s.select(torch.tensor([0, 1, 3]))
    assert (len(s), s.sources) == (3, 3)
    assert torch.equal(s.source_slots(0)[0], before[[1, 1, 2]])
