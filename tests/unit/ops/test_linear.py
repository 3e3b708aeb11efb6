"""oneDNN products and their gradients equal those of torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluformer.config.memory import MemoryConfig
from reluformer.memory.modules import LearnedMemory
from reluformer.ops import linear as module
from reluformer.ops.linear import Linear, Packed, linear, pack, packable, worthwhile

pytestmark = pytest.mark.skipif(not module.AVAILABLE, reason="this torch has no oneDNN")
needs_packing = pytest.mark.skipif(not packable(torch.zeros(1)), reason="this torch has no oneDNN")


@pytest.fixture
def always_worthwhile(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 1)


def gradients(compute, *inputs):
    """Returns the output and the gradients of all inputs."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    output = compute(*inputs)
    slope = torch.sin(torch.arange(output.numel(), dtype=torch.float32)).view(output.shape)
    return output, *torch.autograd.grad(output, inputs, slope)


@pytest.mark.usefixtures("always_worthwhile")
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (1, 1, 5)])
def test_a_linear_layer_equals_torchs(shape):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(6, 5), torch.randn(6)
    assert worthwhile(x, weight)
    torch.testing.assert_close(
        gradients(linear, x, weight, bias), gradients(torch.nn.functional.linear, x, weight, bias)
    )
    torch.testing.assert_close(gradients(linear, x, weight), gradients(lambda x, w: x @ w.T, x, weight))


@pytest.mark.usefixtures("always_worthwhile")
def test_the_gradient_of_a_transposed_weight_is_laid_out_as_the_weight():
    torch.manual_seed(0)
    weights, slots = torch.randn(2, 3, 6), torch.randn(6, 5)
    mixed = gradients(lambda w, s: linear(w, s.T), weights, slots)
    torch.testing.assert_close(mixed, gradients(torch.matmul, weights, slots))
    assert mixed[2].is_contiguous()


@pytest.mark.usefixtures("always_worthwhile")
@pytest.mark.parametrize("bias", [False, True])
def test_a_learned_memory_reads_the_same_either_way(bias, monkeypatch):
    torch.manual_seed(0)
    memory = LearnedMemory(MemoryConfig(activation="relu"), 8, 16, bias)
    x = torch.randn(2, 3, 8)

    def run():
        memory.zero_grad()
        output = memory(x).output
        output.square().sum().backward()
        return [output, *(parameter.grad for parameter in memory.parameters())]

    calls, by_onednn = [], module._Linear.apply
    monkeypatch.setattr(module._Linear, "apply", lambda *given: calls.append(1) or by_onednn(*given))
    fast = run()
    assert len(calls) == 2
    monkeypatch.setattr(module, "LEAST", 1 << 62)
    torch.testing.assert_close(fast, run())
    assert len(calls) == 2


@pytest.mark.usefixtures("always_worthwhile")
def test_only_large_fp32_products_on_a_cpu_use_onednn(monkeypatch):
    x, weight = torch.randn(4, 5), torch.randn(6, 5)
    assert not worthwhile(x.double(), weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not worthwhile(x, weight)
        assert Linear(5, 6)(x).dtype == torch.bfloat16
    monkeypatch.setattr(module, "LEAST", 4 * 30 + 1)
    assert not worthwhile(x, weight) and worthwhile(torch.randn(5, 5), weight)


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5), (130,), (2, 0)])
def test_multiplies_as_linear_does_whatever_the_number_of_rows(rows, bias):
    torch.manual_seed(0)
    linear = nn.Linear(48, 75, bias=bias)
    x = torch.randn(*rows, 96)[..., ::2]
    with torch.inference_mode():
        torch.testing.assert_close(Packed(linear.weight, linear.bias)(x), linear(x), rtol=1e-5, atol=1e-5)


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_model_gives_the_same_and_has_no_linear_left(bias):
    torch.manual_seed(0)
    memory = LearnedMemory(MemoryConfig(activation="relu"), width=16, slots=40, bias=bias)
    model = nn.Sequential(nn.Linear(16, 16), memory.eval()) if not bias else memory.eval()
    first = model[0] if not bias else nn.Identity()
    if bias:
        nn.init.normal_(memory.key_bias)
    x = torch.randn(2, 3, 16)
    with torch.inference_mode():
        expected = memory(first(x))
        pack(model)
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        assert memory.packed is not None
        torch.testing.assert_close(memory((model[0] if not bias else first)(x)).output, expected.output)
        traced = memory(first(x), observe=True)
    assert traced.observation is not None and torch.equal(traced.observation.key, memory.key)


@needs_packing
def test_layers_without_a_onednn_kernel_are_left_unchanged():
    model = nn.Sequential(nn.Linear(4, 4).double())
    pack(model)
    assert isinstance(model[0], nn.Linear)
