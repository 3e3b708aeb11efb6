from __future__ import annotations

import numpy as np
import pytest
import torch

from reluformer.analysis.sweep import gradient_top_shares, on_device, random_batches, slot_gradients
from reluformer.corpus.batches import collate
from reluformer.model.objective import Objective


def test_batches_are_disjoint_and_fixed():
    lengths = np.full(50, 9)
    batches = list(random_batches(lengths, 3, 40))
    assert len(batches) == 3
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert len(set(np.concatenate(batches).tolist())) == 12
    assert all((a == b).all() for a, b in zip(batches, random_batches(lengths, 3, 40), strict=True))


def test_a_small_split_gives_fewer_batches():
    assert [len(batch) for batch in random_batches(np.array([3, 3]), 4, 100)] == [2]


def test_slot_gradients_are_those_of_backward(make_store, make_model):
    objective = Objective(make_model(), 0.1).eval()
    store = make_store()
    batch = on_device(collate(store, [0, 3, 5]), torch.device("cpu"))
    norms = slot_gradients(objective, batch)
    losses = objective(*batch)
    (losses.loss_sum / losses.tokens + losses.penalty).backward()
    assert list(norms) == ["encoder.0.ffn", "encoder.1.ffn", "decoder.0.ffn"]
    memory = objective.model.encoder[1].ffn.memory
    for slot in (0, 7):
        expected = (memory.key.grad[slot].norm() ** 2 + memory.value.grad[slot].norm() ** 2).sqrt()
        assert norms["encoder.1.ffn"][slot].item() == pytest.approx(expected.item(), rel=1e-4)


def test_slots_that_are_never_used_learn_nothing(make_store, make_model):
    model = make_model()
    memory = model.encoder[0].ffn.memory
    with torch.no_grad():
        memory.key[4:] = 0  # ReLU(0) = 0 has no gradient: 4 of 24 slots are left
    shares = gradient_top_shares(Objective(model, 0.1).eval(), make_store(), batches=2, tokens=20)
    assert shares["encoder.0.ffn"]["20"] == pytest.approx(1.0)  # 4.8 slots
    assert shares["encoder.0.ffn"]["10"] < 1.0
    assert shares["encoder.1.ffn"]["20"] < 1.0
    assert all(parameter.grad is None for parameter in model.parameters())
