from __future__ import annotations

import pytest
import torch

from reluformer.training.distributed import DistributedContext, LossReducer

ALONE = DistributedContext(0, 1, torch.device("cpu"))


def test_totals_are_means_over_the_target_tokens():
    reducer = LossReducer(ALONE)
    reducer.put(1, 10, torch.tensor([20.0, 15.0, 5.0]), 40, 30)
    reducer.put(2, 4, torch.tensor([4.0, 2.0, 0.0]), 20, 20)
    totals, flags = reducer.flush(False, True)
    assert [(t.update, t.tokens, t.loss, t.nll, t.penalty, t.positions, t.filled) for t in totals] == [
        (1, 10, 2.0, 1.5, 0.5, 40, 30),
        (2, 4, 1.0, 0.5, 0.0, 20, 20),
    ]
    assert flags == [False, True]


def test_flush_empties_and_sums_over_processes(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))  # as with two equal processes
    reducer = LossReducer(DistributedContext(0, 2, torch.device("cpu")))
    reducer.put(1, 10, torch.tensor([20.0, 10.0, 0.0]), 40, 30)
    totals, flags = reducer.flush(True)
    assert totals[0].loss == pytest.approx(4.0) and totals[0].positions == 80 and flags == [True]
    reducer.put(2, 10, torch.tensor([1.0, 1.0, 0.0]), 1, 1)
    assert [total.update for total in reducer.flush(False)[0]] == [2]
