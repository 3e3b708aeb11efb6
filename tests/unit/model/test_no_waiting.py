"""No operator of an update waits for the device or copies from pageable memory, which makes CUDA wait, too.

A `meta` device stands in for the GPU: it takes the paths of an accelerator, and every operator can be intercepted.
tests/gpu/test_no_waiting_gpu.py checks it on a GPU.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reluformer.memory.backends import dispatch as attention
from reluformer.model.objective import Objective

WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique_dim", "_unique2", "equal"}


class NoWaiting(TorchDispatchMode):
    """Refuses operators that make the host wait for the GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        arguments = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on_device = any(x.device.type != "cpu" for x in arguments)
        assert not (on_device and name in WAITING), f"{function} waits for the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            chosen = [x for x in tree_leaves(args[1]) if isinstance(x, Tensor)]
            scalar = name != "index" and args[2].numel() == 1  # torch fills without a copy
            assert scalar or not any(x.dtype == torch.bool for x in chosen), (
                f"{function} by a mask waits for the device"
            )
        result = function(*args, **(kwargs or {}))
        tensors = [*arguments, *(x for x in tree_leaves(result) if isinstance(x, Tensor))]
        assert len({x.device.type for x in tensors}) <= 1, f"{function} copies between host and device"
        return result


class NoNumbers(TorchFunctionMode):
    """Refuses to create device tensors from host numbers, a copy that no dispatch mode intercepts."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        creates = function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
        assert not (creates and str((kwargs or {}).get("device", "cpu")) != "cpu"), f"{function} copies to the device"
        return function(*args, **(kwargs or {}))


@contextmanager
def no_waiting():
    with NoWaiting(), NoNumbers():
        yield


def update(objective, batch):
    """Runs forward and backward as in training."""
    losses = objective(*batch, torch.empty(5, dtype=torch.int64, device="meta"))
    (losses.loss_sum + losses.penalty * losses.tokens).backward()


@pytest.fixture
def on_meta(make_model, sentences, monkeypatch):
    """`on_meta(system, batch, **changes)`: an objective with every kind of dropout and a batch, both on `meta`."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # it does not support `meta`

    def make(system, batch=sentences, **changes):
        dropouts = {"dropout": 0.1, "attention_dropout": 0.1}
        model = make_model(system, **{**dropouts, **changes}).to("meta").train()
        model.embeddings.positions(200)
        return Objective(model, 0.1), [x.to("meta") for x in batch]

    return make


def test_waiting_operations_are_detected(on_meta):
    objective, batch = on_meta("transformer")
    scores = torch.empty(3, 4, device="meta")
    waiting = [
        lambda: scores[scores > 0],
        lambda: torch.as_tensor(3.0, device="meta"),
        lambda: torch.tensor([3.0], device="meta"),
        lambda: torch.ones(4).to(scores),
        lambda: (scores > 0).any().item(),
        lambda: scores.to("cpu"),
        lambda: objective(*batch),
    ]
    for operation in waiting:
        with no_waiting(), pytest.raises((AssertionError, NotImplementedError)):
            operation()


def assert_never_waits(objective, batch):
    with no_waiting():
        update(objective, batch)
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_every_system(on_meta, system, monkeypatch):
    monkeypatch.setattr(attention, "backend", lambda query: "reference")
    assert_never_waits(*on_meta(system))


@pytest.mark.parametrize("name", ["transformer", "attention-relu", "rela", "reluformer", "reluformer-cross"])
@pytest.mark.parametrize(("backend", "norm"), [("tiled", "pre"), ("triton", "post")])
def test_every_kernel(on_meta, name, backend, norm, monkeypatch):
    if backend == "triton":
        pytest.importorskip("triton", reason="needs triton")
    monkeypatch.setattr(attention, "backend", lambda query: backend)
    assert_never_waits(*on_meta(name, norm=norm))


@pytest.mark.parametrize(
    "memory",
    [
        {"penalty": {"weight": 1.0}},
        {"penalty": {"weight": 1.0, "entropy_of": "raw"}},
        {"activation": "relu-scaled", "options": {"gamma": "learned"}, "penalty": {"weight": 1.0}},
        {"activation": "softmax", "penalty": {"weight": 1.0}},
        {"output_norm": "layernorm"},
    ],
)
def test_every_option_of_a_memory(on_meta, memory):
    objective, batch = on_meta("reluformer", layers={"*": memory})
    with no_waiting():
        update(objective, batch)


@pytest.mark.parametrize("name", ["attention-sparsemax", "attention-entmax15"])
def test_rows_of_more_scores_than_a_cpu_sorts_whole(on_meta, make_batch, name):
    objective, batch = on_meta(name, make_batch((150, 3, 5), (140, 6, 2)))
    with no_waiting():
        update(objective, batch)
