from __future__ import annotations

import math
import shutil

import pytest
import torch

from reluformer.model import objective
from reluformer.model.objective import TILE, Objective, ProjectedCrossEntropy
from reluformer.ops.cross_entropy import has_kernel
from reluformer.ops.linear import product


def loop_losses(logits, target, smoothing):
    """Computes label smoothing by definition: ε spread over the whole vocabulary."""
    loss = nll = 0.0
    vocabulary = logits.size(1)
    for row, t in zip(logits.tolist(), target.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(x) for x in row))
        for v, x in enumerate(row):
            wanted = smoothing / vocabulary + (1 - smoothing if v == t else 0)
            loss -= wanted * (x - log_sum)
        nll -= row[t] - log_sum
    return loss, nll


@pytest.mark.parametrize("tile", [1 << 19, 7 * 16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_equals_loops_and_torch(smoothing, tile, monkeypatch):
    monkeypatch.setitem(TILE, True, tile)
    torch.manual_seed(0)
    hidden = torch.randn(45, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 7, (45,))
    loss, nll = ProjectedCrossEntropy.apply(hidden, weight, target, smoothing)
    logits = hidden @ weight.T
    assert (loss.item(), nll.item()) == pytest.approx(loop_losses(logits, target, smoothing))
    torchs = torch.nn.functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    assert loss.item() == pytest.approx(torchs.item())
    ours = torch.autograd.grad(3 * loss, (hidden, weight))
    theirs = torch.autograd.grad(3 * torchs, (hidden, weight))
    torch.testing.assert_close(ours, theirs)


def test_gradients():
    hidden = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda h, w: ProjectedCrossEntropy.apply(h, w, target, 0.1)[0], (hidden, weight))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_and_without_the_kernel(smoothing, monkeypatch):
    monkeypatch.setitem(TILE, True, 33 * 700)
    torch.manual_seed(0)
    hidden, weight = torch.randn(100, 16, requires_grad=True), torch.randn(700, 16, requires_grad=True)
    target = torch.randint(700, (100,))
    assert has_kernel(hidden)
    actual = []
    for available in (has_kernel, lambda logits: False):
        monkeypatch.setattr("reluformer.ops.cross_entropy.has_kernel", available)
        losses = ProjectedCrossEntropy.apply(hidden, weight, target, smoothing)
        actual.append((*losses, *torch.autograd.grad(losses[0], (hidden, weight))))
        with torch.no_grad():
            assert torch.equal(ProjectedCrossEntropy.apply(hidden, weight, target, smoothing)[0], losses[0])
    torch.testing.assert_close(*actual, rtol=1e-5, atol=1e-5)


def test_a_target_outside_the_vocabulary_is_an_error():
    hidden, weight = torch.randn(2, 4, requires_grad=True), torch.randn(7, 4)
    with pytest.raises(RuntimeError, match="out of bounds"):
        ProjectedCrossEntropy.apply(hidden, weight, torch.tensor([0, 7]), 0.1)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_an_undefined_logit_makes_the_loss_undefined(broken):
    hidden = torch.ones(3, 4)
    hidden[1, 2] = broken
    loss, nll = ProjectedCrossEntropy.apply(hidden, torch.eye(5, 4) + 1, torch.tensor([0, 1, 4]), 0.1)
    assert loss.isnan() and nll.isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    torch.manual_seed(0)
    hidden = torch.randn(64, 16).to(dtype).requires_grad_()
    weight = torch.randn(5000, 16).to(dtype).requires_grad_()
    target = torch.arange(64)
    loss, _ = ProjectedCrossEntropy.apply(hidden, weight, target, 0.1)
    assert loss.dtype == torch.float32
    wide_hidden, wide_weight = (t.detach().double().requires_grad_() for t in (hidden, weight))
    exact = torch.nn.functional.cross_entropy(wide_hidden @ wide_weight.T, target, reduction="sum", label_smoothing=0.1)
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    loss.backward()
    exact.backward()
    for half, wide in ((hidden, wide_hidden), (weight, wide_weight)):
        assert half.grad.dtype == dtype
        torch.testing.assert_close(half.grad.double(), wide.grad, atol=0.05, rtol=0.05)


def test_autocast_computes_in_its_dtype_and_gradients_keep_the_parameters_dtype(monkeypatch):
    products = []
    monkeypatch.setattr(objective, "product", lambda *a: products.append({t.dtype for t in a}) or product(*a))
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    target = torch.arange(64) % 50
    exact = torch.nn.functional.cross_entropy(hidden @ weight.T, target, reduction="sum", label_smoothing=0.1)
    wanted = torch.autograd.grad(exact, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = ProjectedCrossEntropy.apply(hidden, weight, target, 0.1)
    loss.backward()
    assert products == [{torch.bfloat16}] * 2
    assert loss.item() == pytest.approx(exact.item(), rel=5e-3)
    for actual, expected in zip((hidden.grad, weight.grad), wanted, strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected, atol=0.1, rtol=0.05)


def test_huge_logits_are_finite():
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss, nll = ProjectedCrossEntropy.apply(hidden, torch.tensor([[3.0], [-3.0]]), torch.tensor([0, 0]), 0.1)
    assert nll.item() == pytest.approx(6e4) and loss.isfinite()


def test_only_real_tokens_count(make_model, make_batch, sentences):
    model = make_model("reluformer")
    objective = Objective(model, 0.1)
    losses = objective(*sentences)
    assert losses.tokens == 12
    padded = type(sentences)(*(torch.nn.functional.pad(t, (0, 3)) for t in sentences))
    for actual, expected in zip(losses, objective(*padded), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-5)


def test_losses_are_those_of_the_logits(make_model, sentences, system):
    model = make_model(system)
    losses = Objective(model, 0.1)(*sentences)
    logits = model.project(model(*sentences.inputs))[sentences.tgt_mask]
    loss, nll = loop_losses(logits, sentences.tgt_out[sentences.tgt_mask], 0.1)
    assert (losses.loss_sum.item(), losses.nll_sum.item()) == pytest.approx((loss, nll), rel=1e-4)
    assert not losses.nll_sum.requires_grad
    assert (losses.penalty > 0) == system.startswith("reluformer")
    assert losses.penalty.dtype == torch.float32


def test_every_parameter_of_every_system_learns(make_model, sentences, system):
    model = make_model(system, share_embeddings="none").train()
    losses = Objective(model, 0.1)(*sentences)
    (losses.loss_sum / losses.tokens + losses.penalty).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_penalty_moves_the_attention(make_model, sentences):
    model = make_model("reluformer", layers={"*attention": {"penalty": {"weight": 1.0}}})
    penalty = Objective(model, 0.1)(*sentences).penalty
    penalty.backward()
    assert model.encoder[0].attention.memory.query_key_value.weight.grad.any()


def test_the_positions_of_real_tokens_may_be_given(make_model, sentences):
    objective = Objective(make_model("reluformer"), 0.1)
    real = sentences.tgt_mask.flatten().nonzero().squeeze(1)
    for actual, expected in zip(objective(*sentences), objective(*sentences, real), strict=True):
        assert torch.equal(actual, expected)
    assert objective(*sentences, real[:5]).nll_sum < objective(*sentences, real).nll_sum
