"""Int8 matrix products: error, independent rows and NaN, with and without the C++ kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluformer.config.memory import MemoryConfig
from reluformer.memory.modules import LearnedMemory
from reluformer.ops import int8
from reluformer.ops.int8 import LEVELS, Int8, quantise
from reluformer.ops.linear import pack

pytestmark = pytest.mark.skipif(not int8.AVAILABLE, reason="this torch has no oneDNN")


@pytest.fixture(params=["C++", "torch"])
def kernels(request, monkeypatch):
    """Runs a test with the C++ kernels and without them."""
    if request.param == "torch":
        monkeypatch.setattr(int8, "library", lambda source: None)
    elif int8.library(int8.SOURCE) is None:
        pytest.skip("no C++ compiler")


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5), (130,), (2, 0)])
def test_equals_the_product_of_the_quantised_factors(rows, bias):
    torch.manual_seed(0)
    layer = nn.Linear(48, 75, bias=bias)
    x = torch.randn(*rows, 96)[..., ::2]
    weight = layer.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    x_scale = x.abs().amax(-1, keepdim=True) / LEVELS
    quantised = ((x / x_scale).round() * x_scale) @ ((weight / scale).round() * scale).T
    expected = quantised if layer.bias is None else quantised + layer.bias.detach()
    with torch.inference_mode():
        torch.testing.assert_close(Int8(layer.weight, layer.bias)(x), expected, rtol=0, atol=2e-2)
        torch.testing.assert_close(Int8(layer.weight, layer.bias)(x), layer(x), rtol=0, atol=0.1)


@pytest.mark.usefixtures("kernels")
def test_a_row_does_not_depend_on_the_others():
    torch.manual_seed(0)
    product = Int8(torch.randn(20, 32))
    x = torch.randn(9, 32)
    large = torch.cat([x, 1e4 * torch.randn(1, 32)])
    torch.testing.assert_close(product(large)[:9], product(x), rtol=0, atol=0)


@pytest.mark.usefixtures("kernels")
def test_zero_rows_and_weights_give_zero_and_nan_stays_in_its_row():
    weight = torch.randn(5, 8)
    weight[0] = 0
    x = torch.randn(4, 8)
    x[1] = 0
    x[2, 3] = torch.nan
    y = Int8(weight)(x)
    assert (y[1] == 0).all() and (y[[0, 3], 0] == 0).all()
    assert y[2].isnan().all() and y[[0, 1, 3]].isfinite().all()


@pytest.mark.skipif(int8.library(int8.SOURCE) is None, reason="needs g++")
def test_the_cpp_quantises_as_torch_does(monkeypatch):
    x = torch.randn(33, 77, generator=torch.Generator().manual_seed(0))
    ours, scale = quantise(x)
    monkeypatch.setattr(int8, "library", lambda source: None)
    theirs, expected = quantise(x)
    torch.testing.assert_close(scale, expected)
    assert (ours.int() - theirs.int()).abs().max() <= 1  # a half may round either way


def test_a_model_packed_in_int8_reads_its_memories_in_int8():
    torch.manual_seed(0)
    memory = LearnedMemory(MemoryConfig(activation="relu"), width=16, slots=40, bias=True)
    nn.init.normal_(memory.key_bias)
    model = nn.ModuleList([nn.Linear(16, 16), memory]).eval()
    x = torch.randn(2, 3, 16)
    with torch.inference_mode():
        expected = model[1](model[0](x)).output
        pack(model, Int8)
        assert isinstance(model[0], Int8) and isinstance(memory.packed[0], Int8)
        ours = model[1](model[0](x)).output
    torch.testing.assert_close(ours, expected, rtol=0, atol=0.05 * float(expected.abs().max()))
    assert not torch.equal(ours, expected)
