"""The read on CUDA equals the float64 read on the CPU, which tests/unit/memory/test_read.py checks against loops."""

from __future__ import annotations

import pytest
import torch

from reluformer.config.memory import MemoryConfig, PenaltyConfig
from reluformer.config.model import ModelConfig
from reluformer.memory.activations import build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import read
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer

pytestmark = pytest.mark.gpu

ACTIVATIONS = {
    "softmax": {},
    "relu": {},
    "relu-scaled": {"gamma": 0.5},
    "relu-scaled-learned": {"gamma": "learned"},
    "sparsemax": {},
    "entmax15": {},
}
TOLERANCE = {torch.float32: {"atol": 2e-5, "rtol": 2e-4}, torch.bfloat16: {"atol": 0.06, "rtol": 0.06}}
B, H, D = 3, 4, 32


@pytest.fixture(autouse=True)
def _exact_matmul(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def run(name, tensors, keys, causal, penalised, device, dtype):
    """Returns output, gradients and penalty of one read, as float64 on the CPU."""
    torch.manual_seed(0)
    config = MemoryConfig(activation=name.removesuffix("-learned"), options=ACTIVATIONS[name])
    activation = build_activation(config, H).to(device, dtype)
    inputs = [t.to(device, dtype).detach().requires_grad_() for t in tensors]
    visible = AttentionMask(inputs[1].size(-2), None if keys is None else keys.to(device), causal)
    penalty = Penalty(PenaltyConfig(weight=0.1)) if penalised else None
    reading = read(*inputs, activation, visible, scale=D**-0.5, penalty=penalty)
    loss = reading.output.double().square().sum() + (reading.penalty.double() if penalised else 0)
    loss.backward()
    results = [reading.output, *(t.grad for t in inputs), *(p.grad for p in activation.parameters())]
    return [r.detach().double().cpu() for r in results + ([reading.penalty] if penalised else [])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["all", "ragged", "causal"])
@pytest.mark.parametrize(("rows", "slots"), [(1, 1), (5, 5), (3, 17), (64, 64), (65, 129)])
@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_the_cpu_in_double(name, rows, slots, kind, penalised, dtype):
    torch.manual_seed(rows + slots)
    # rounded first, so that both reads get the same numbers
    tensors = [torch.randn(B, H, n, D).to(dtype).double() for n in (rows, slots, slots)]
    lengths = torch.tensor([slots, max(1, slots // 2), max(1, slots - 1)])
    keys = torch.arange(slots)[None] < lengths[:, None] if kind == "ragged" else None
    exact = run(name, tensors, keys, kind == "causal", penalised, "cpu", torch.float64)
    ours = run(name, tensors, keys, kind == "causal", penalised, "cuda", dtype)
    for actual, expected in zip(ours, exact, strict=True):
        if dtype == torch.float32:
            size = expected.abs().max().clamp(min=1)
            torch.testing.assert_close(actual / size, expected / size, **TOLERANCE[dtype])
        else:  # scores that round across 0 or out of sparsemax's support change single gradients
            allowed = 0.2 if name == "sparsemax" else 0.05
            assert (actual - expected).norm() <= allowed * expected.norm() + 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rows_that_see_nothing_are_finite(name, dtype):
    tensors = [torch.randn(B, H, n, D) for n in (5, 9, 9)]
    keys = torch.tensor([[False] * 9, [True] * 9, [True] * 4 + [False] * 5])
    for penalised in (False, True):
        results = run(name, tensors, keys, False, penalised, "cuda", dtype)
        assert all(r.isfinite().all() for r in results)
        assert not results[0][0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_and_decoding_run_and_agree(dtype):
    attention = MemoryConfig(activation="relu-scaled", options={"gamma": "learned"}, penalty=PenaltyConfig())
    kinds = ("encoder_attention", "decoder_attention", "cross_attention")
    config = ModelConfig(
        encoder_layers=2, decoder_layers=2, width=64, slots=128, vocabulary=100, **dict.fromkeys(kinds, attention)
    )
    torch.manual_seed(0)
    model = Transformer(config).to("cuda", dtype)
    src, tgt = torch.randint(5, 100, (3, 12), device="cuda"), torch.randint(5, 100, (3, 7), device="cuda")
    src_mask = torch.arange(12, device="cuda")[None] < torch.tensor([[12], [5], [9]], device="cuda")
    tgt_mask = torch.ones_like(tgt, dtype=torch.bool)
    model.checkpoint_activations = True
    losses = Objective(model.train(), 0.1)(src, src_mask, tgt, tgt, tgt_mask)
    (losses.loss_sum / losses.tokens + losses.penalty).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        full = model.project(model(src, src_mask, tgt, tgt_mask))
        state = model.start(src, src_mask)
        steps = torch.stack([model.step(tokens, state) for tokens in tgt.unbind(1)], 1)
    torch.testing.assert_close(steps, full, **TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_adasplash_gives_what_entmax_gives(name):
    pytest.importorskip("adasplash")
    activation = build_activation(MemoryConfig(activation=name))
    scores = torch.randn(4, 300, device="cuda", requires_grad=True)
    exact = scores.detach().cpu().double().requires_grad_()
    ours, theirs = activation(scores), activation(exact)
    grad = torch.randn_like(ours)
    ours.backward(grad)
    theirs.backward(grad.cpu().double())
    torch.testing.assert_close(ours.cpu().double(), theirs, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(scores.grad.cpu().double(), exact.grad, atol=1e-3, rtol=1e-2)
