from __future__ import annotations

import pytest
import torch
from torch import nn

from reluformer.config.memory import MemoryConfig
from reluformer.memory.modules import LearnedMemory
from reluformer.ops.packed import Packed, pack, packable

pytestmark = pytest.mark.skipif(not packable(torch.zeros(1)), reason="this torch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5), (130,), (2, 0)])
def test_multiplies_as_linear_does_whatever_the_number_of_rows(rows, bias):
    torch.manual_seed(0)
    linear = nn.Linear(48, 75, bias=bias)
    x = torch.randn(*rows, 96)[..., ::2]
    with torch.inference_mode():
        torch.testing.assert_close(Packed(linear.weight, linear.bias)(x), linear(x), rtol=1e-5, atol=1e-5)


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


def test_what_onednn_has_no_kernel_for_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4).double())
    pack(model)
    assert isinstance(model[0], nn.Linear)
