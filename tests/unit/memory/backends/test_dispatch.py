from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from reluformer.config.memory import PenaltyConfig
from reluformer.config.settings import SettingsError
from reluformer.memory.activations import ReLU, ScaledReLU
from reluformer.memory.backends import AttentionOptions
from reluformer.memory.backends import dispatch as attention
from reluformer.memory.backends.cpu import SOURCE
from reluformer.memory.backends.dispatch import backend, fused_kernel
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import read
from reluformer.ops.paths import library

QUERY = torch.randn(2, 3, 4, 8)
BACKENDS = [
    "tiled",
    pytest.param("cpu", marks=pytest.mark.skipif(library(SOURCE) is None, reason="needs a C++ compiler")),
]


def test_the_backend_follows_device_and_dtype(monkeypatch):
    monkeypatch.delenv("RELUFORMER_KERNEL", raising=False)
    monkeypatch.setattr(attention, "library", lambda _: object())
    assert backend(QUERY) == backend(QUERY.bfloat16()) == "cpu"
    assert backend(QUERY.double()) == "tiled"
    assert backend(QUERY.to("meta")) == "tiled"
    monkeypatch.setattr(attention, "library", lambda _: None)
    assert backend(QUERY) == "tiled"


def test_the_triton_backend_needs_a_head_width_that_the_kernel_supports(monkeypatch):
    monkeypatch.delenv("RELUFORMER_KERNEL", raising=False)
    monkeypatch.setattr(attention, "TRITON", True)
    monkeypatch.setattr(attention, "trusted", lambda path, device: True)
    for width, name in ((128, "triton"), (256, "tiled")):
        on_card = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16, size=lambda _, width=width: width)
        assert backend(on_card) == name


def test_a_backend_can_be_forced(monkeypatch):
    monkeypatch.setattr(attention, "library", lambda _: object())
    for name in ("reference", "tiled", "cpu"):
        monkeypatch.setenv("RELUFORMER_KERNEL", name)
        assert backend(QUERY) == name
    assert backend(QUERY.double()) == "tiled"
    monkeypatch.setattr(attention, "library", lambda _: None)
    with pytest.raises(SettingsError, match="could not be compiled"):
        backend(QUERY)
    monkeypatch.setenv("RELUFORMER_KERNEL", "titled")
    with pytest.raises(SettingsError, match=r"RELUFORMER_KERNEL: 'titled': unknown backend; did you mean 'tiled'\?"):
        backend(QUERY)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_kernel_is_the_backends(name, monkeypatch):
    monkeypatch.setenv("RELUFORMER_KERNEL", name)
    options = {"keys": None, "causal": False, "scale": 0.5, "dropout": 0.0, "seed": 0, "statistics": True}
    output, total, _ = fused_kernel(QUERY)(QUERY, QUERY, QUERY, AttentionOptions(**options))
    weights = (QUERY @ QUERY.mT * 0.5).relu()
    torch.testing.assert_close(output, weights @ QUERY)
    torch.testing.assert_close(total, weights.sum(-1))


def gradients(name, monkeypatch, activation, visible, penalty, rows, dropout=0.0):
    """Returns output, penalty and all gradients of a read, including that of a learned γ."""
    monkeypatch.setenv("RELUFORMER_KERNEL", name)
    torch.manual_seed(3)
    query, key, value = (torch.randint(-3, 4, (2, 3, n, 16)).float().requires_grad_() for n in (9, 14, 14))
    activation.zero_grad()
    reading = read(query, key, value, activation, visible, scale=0.25, penalty=penalty, rows=rows, dropout=dropout)
    assert reading.observation is None
    loss = reading.output.square().sum() + (0 if penalty is None else reading.penalty * 30)
    loss.backward()
    grads = [x.grad for x in (query, key, value, *activation.parameters())]
    return [reading.output.detach(), *([] if penalty is None else [reading.penalty.detach()]), *grads]


@pytest.mark.parametrize("penalised", [None, {}, {"absolute": False}, {"entropy_of": "raw"}])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "built", [ReLU(3), ScaledReLU(3, 0.5), ScaledReLU(3, "learned")], ids=["relu", "γ", "γ learned"]
)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_read_is_the_same_as_with_its_weights(name, built, causal, penalised, monkeypatch):
    keys = torch.arange(14)[None] < torch.tensor([[14], [6]])
    visible, rows = AttentionMask(14, keys, causal), torch.arange(9)[None] < torch.tensor([[9], [4]])
    penalty = None if penalised is None else Penalty(PenaltyConfig(weight=1.0, **penalised))
    ours = gradients(name, monkeypatch, built, visible, penalty, rows)
    theirs = gradients("reference", monkeypatch, built, visible, penalty, rows)
    assert len(ours) == len(theirs) == 4 + (penalty is not None) + len(list(built.parameters()))
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_dropout_follows_torchs_generator(name, monkeypatch):
    visible, built = AttentionMask(14), ScaledReLU(3)
    first = gradients(name, monkeypatch, built, visible, None, None, dropout=0.4)
    again = gradients(name, monkeypatch, built, visible, None, None, dropout=0.4)
    without = gradients(name, monkeypatch, built, visible, None, None)
    for actual, expected in zip(first, again, strict=True):
        assert torch.equal(actual, expected)
    assert not torch.equal(first[0], without[0])


def test_a_kernel_serves_only_what_it_computes(monkeypatch):
    """The read uses no kernel if weights are requested, slots are learned, or f is another function."""
    monkeypatch.setenv("RELUFORMER_KERNEL", "tiled")

    class Squared(ReLU):
        def forward(self, scores):
            return super().forward(scores).square()

    assert read(QUERY, QUERY, QUERY, ReLU(), AttentionMask(4), observe=True).observation is not None
    x, slots = QUERY[:, 0], QUERY[0, 0]
    torch.testing.assert_close(read(x, slots, slots, ReLU(), AttentionMask(4)).output, (x @ slots.T).relu() @ slots)
    expected = (QUERY @ QUERY.mT).relu().square() @ QUERY
    torch.testing.assert_close(read(QUERY, QUERY, QUERY, Squared(), AttentionMask(4)).output, expected)
