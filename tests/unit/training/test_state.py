"""Mirrors `reluformer.training.state`; that a whole state comes back bit by bit is in test_resume."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reluformer.training.state import average_weights, load_module, module_tensors


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    module[1].weight = module[0].weight
    return module


def test_shared_parameters_are_one_tensor():
    assert set(module_tensors(tied())) == {
        "0.weight",
        "2.weight",
        "2.bias",
        "2.running_mean",
        "2.running_var",
        "2.num_batches_tracked",
    }


def test_load_module_copies_in_place():
    module, other = tied(), tied()
    parameter = module[0].weight
    load_module(module, module_tensors(other))
    assert module[0].weight is parameter and torch.equal(parameter, other[0].weight)
    with pytest.raises(KeyError):
        load_module(module, {})


def test_average_is_the_mean_in_the_weights_type(tmp_path):
    files = []
    for value in (1.0, 2.0):
        files.append(tmp_path / f"{value}.safetensors")
        save_file({"w": torch.full((2,), value), "n": torch.tensor(int(value))}, files[-1])
    mean = average_weights(files, {"w": torch.full((2,), 6.0), "n": torch.tensor(9)})
    assert mean["w"].tolist() == [3.0, 3.0] and mean["w"].dtype == torch.float32 and mean["n"] == 9
