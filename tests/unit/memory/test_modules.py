from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import multi_head_attention_forward

from reluformer.config.memory import MemoryConfig
from reluformer.memory.mask import AttentionMask
from reluformer.memory.modules import CrossAttention, GatedRMSNorm, LearnedMemory, SelfAttention, joint_linear

E, H = 12, 3


def test_a_feed_forward_layer_without_bias_is_a_memory_read():
    """The paper's equivalence: the rows of W1 are keys, the columns of W2 are values."""
    torch.manual_seed(0)
    first, second = torch.nn.Linear(E, 20, bias=False), torch.nn.Linear(20, E, bias=False)
    memory = LearnedMemory(MemoryConfig(activation="relu"), E, 20)
    with torch.no_grad():
        memory.key.copy_(first.weight)
        memory.value.copy_(second.weight.T)
    x = torch.randn(2, 5, E)
    torch.testing.assert_close(memory(x).output, second(torch.relu(first(x))))


def test_feed_forward_biases_are_the_usual_ones():
    memory = LearnedMemory(MemoryConfig(activation="relu"), E, 20, bias=True)
    torch.nn.init.normal_(memory.key_bias)
    torch.nn.init.normal_(memory.value_bias)
    x = torch.randn(2, 5, E)
    expected = torch.relu(x @ memory.key.T + memory.key_bias) @ memory.value + memory.value_bias
    torch.testing.assert_close(memory(x).output, expected)
    assert LearnedMemory(MemoryConfig(), E, 20).key_bias is None


def test_softmax_memory_has_no_root_of_the_width():
    memory = LearnedMemory(MemoryConfig(activation="softmax"), E, 20)
    x = torch.randn(2, 5, E)
    torch.testing.assert_close(memory(x).output, torch.softmax(x @ memory.key.T, -1) @ memory.value)


@pytest.mark.parametrize("output_norm", ["layernorm", "gated-rmsnorm"])
def test_an_output_norm_acts_on_the_output_of_a_learned_memory(output_norm):
    memory = LearnedMemory(MemoryConfig(activation="softmax", output_norm=output_norm), E, 20)
    x = torch.randn(2, 5, E)
    raw = torch.softmax(x @ memory.key.T, -1) @ memory.value
    norm = memory.layernorm if output_norm == "layernorm" else memory.head_norm
    torch.testing.assert_close(memory(x).output, norm(raw))


def test_softmax_attention_is_torchs_multi_head_attention():
    torch.manual_seed(0)
    attention = SelfAttention(MemoryConfig(), E, H)
    torch.nn.init.normal_(attention.query_key_value.bias)
    x = torch.randn(3, 6, E)
    keys = torch.arange(6)[None] < torch.tensor([[6], [2], [4]])
    joint, output = attention.query_key_value, attention.output
    expected, _ = multi_head_attention_forward(
        *(x.transpose(0, 1),) * 3, E, H, joint.weight, joint.bias, None, None, False, 0.0, output.weight, output.bias,
        training=False, key_padding_mask=~keys, need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(attention(x, AttentionMask(6, keys)).output, expected.transpose(0, 1))


def test_rela_normalises_the_joined_heads_before_the_projection():
    """ReLA-g by its equation: ReLU(q·k/√d), joined heads, gated RMSNorm over E, output projection."""
    torch.manual_seed(0)
    attention = SelfAttention(MemoryConfig(activation="relu", output_norm="gated-rmsnorm"), E, H).double()
    torch.nn.init.normal_(attention.head_norm.gate)
    x = torch.randn(2, 5, E, dtype=torch.float64)
    projected = attention.query_key_value(x)
    joined = torch.zeros(2, 5, E, dtype=torch.float64)
    d = E // H
    for b in range(2):
        for h in range(H):
            for i in range(5):
                q = projected[b, i, h * d : (h + 1) * d]
                for j in range(5):
                    k = projected[b, j, E + h * d : E + (h + 1) * d]
                    v = projected[b, j, 2 * E + h * d : 2 * E + (h + 1) * d]
                    joined[b, i, h * d : (h + 1) * d] += torch.relu(q @ k / d**0.5) * v
    rms = joined.square().mean(-1, keepdim=True).sqrt()
    normed = attention.head_norm.scale * joined / rms * torch.sigmoid(attention.head_norm.gate * joined)
    torch.testing.assert_close(attention(x, AttentionMask(5)).output, attention.output(normed), atol=1e-6, rtol=1e-5)


def test_layernorm_follows_the_output_projection():
    attention = SelfAttention(MemoryConfig(output_norm="layernorm"), E, H)
    out = attention(torch.randn(2, 5, E), AttentionMask(5)).output
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(-1, unbiased=False), torch.ones(2, 5), atol=0.01, rtol=0)


def test_cross_attention_reads_the_source_once_computed_or_not():
    attention = CrossAttention(MemoryConfig(activation="relu-scaled"), E, H)
    x, source = torch.randn(2, 3, E), torch.randn(2, 7, E)
    visible = AttentionMask(7, torch.arange(7)[None] < torch.tensor([[7], [4]]))
    out = attention(x, visible, source=source).output
    assert torch.equal(out, attention(x, visible, source=attention.slots(source)).output)
    source[1, 4:] = 99.0
    assert torch.equal(out, attention(x, visible, source=source).output)


def test_penalty_and_observation_only_when_asked_for():
    config = MemoryConfig(activation="relu-scaled", penalty={"weight": 0.1})
    attention = SelfAttention(config, E, H)
    x = torch.randn(2, 5, E)
    assert attention(x, AttentionMask(5))[1:] == (None, None)
    result = attention(x, AttentionMask(5), penalise=True, observe=True)
    assert result.penalty > 0
    assert result.observation.weights.shape == (2, H, 5, 5)
    assert result.observation.query.shape == result.observation.key.shape == (2, H, 5, E // H)
    assert SelfAttention(MemoryConfig(penalty={"weight": 0}), E, H).penalty is None


def test_dropout_only_in_training():
    memory, visible = SelfAttention(MemoryConfig(activation="relu"), E, H, dropout=0.5), AttentionMask(5)
    x = torch.randn(2, 5, E)
    assert not torch.equal(memory(x, visible).output, memory(x, visible).output)
    memory.eval()
    assert torch.equal(memory(x, visible).output, memory(x, visible).output)


def test_projections_are_initialised_as_in_fairseq():
    joint = joint_linear(64, 3, bias=True)
    bound = (6 / 128) ** 0.5 * 2**-0.5
    for part in joint.weight.chunk(3):
        assert bound * 0.95 < part.abs().max() <= bound
    assert not joint.bias.any()


def test_the_gated_norm_equals_its_equation():
    torch.manual_seed(0)
    norm = GatedRMSNorm(4).double()
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.gate)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    y = norm(x)
    for b in range(2):
        for i in range(3):
            row = x[b, i].tolist()
            rms = math.sqrt(sum(v * v for v in row) / 4)
            for d, v in enumerate(row):
                gate = 1 / (1 + math.exp(-norm.gate[d].item() * v))
                assert y[b, i, d].item() == pytest.approx(norm.scale[d].item() * v / rms * gate, rel=1e-6)


def test_the_gated_norm_is_initialised_as_by_its_authors():
    """Scale 1, gate U(±√(3/E)): TensorFlow's uniform variance scaling with fan_avg for a vector of size E."""
    torch.manual_seed(0)
    norm = GatedRMSNorm(4096)
    bound = math.sqrt(3 / 4096)
    assert torch.equal(norm.scale, torch.ones(4096))
    assert norm.gate.abs().max() <= bound
    assert norm.gate.min() < -0.99 * bound and norm.gate.max() > 0.99 * bound
    assert norm.gate.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert GatedRMSNorm(512).gate.abs().max().item() == pytest.approx(0.0765, abs=2e-3)


def test_gradients_of_the_gated_norm():
    norm = GatedRMSNorm(3).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_stays_zero_and_finite(dtype):
    norm = GatedRMSNorm(8).to(dtype)
    x = torch.zeros(2, 8, dtype=dtype, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert y.dtype == dtype and not y.any() and x.grad.isfinite().all()


def test_statistics_are_in_single_precision():
    x = torch.full((1, 8), 1e4, dtype=torch.float16)
    norm = GatedRMSNorm(8).half()
    torch.nn.init.zeros_(norm.gate)
    torch.testing.assert_close(norm(x), torch.full((1, 8), 0.5, dtype=torch.float16))


@pytest.mark.parametrize(("done", "share"), [(0, 1.0), (0.05, 0.5), (0.1, 0.0), (0.5, 0.0)])
def test_annealing_moves_weights_from_softmax_to_the_activation(done, share):
    """Over the first tenth of the updates; applies to the gradients, too."""
    annealed, relu, softmax = (
        SelfAttention(MemoryConfig(activation=name, anneal_from_softmax=part), E, H)
        for name, part in (("relu-scaled", 0.1), ("relu-scaled", 0.0), ("softmax", 0.0))
    )
    for other in (relu, softmax):
        other.load_state_dict(annealed.state_dict())
    x, visible = torch.randn(3, 6, E), AttentionMask(6, torch.arange(6)[None] < torch.tensor([[6], [2], [4]]), True)
    annealed.anneal(0)
    annealed.anneal(done)
    expected = share * softmax(x, visible).output + (1 - share) * relu(x, visible).output
    torch.testing.assert_close(annealed(x, visible).output, expected)
    expected.square().sum().backward()
    annealed(x, visible).output.square().sum().backward()
    ours, theirs = annealed.query_key_value.weight.grad, relu.query_key_value.weight.grad
    theirs = torch.zeros_like(ours) if theirs is None else theirs
    theirs = theirs + (0 if softmax.query_key_value.weight.grad is None else softmax.query_key_value.weight.grad)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_module_that_is_not_trained_is_not_annealed():
    configs = (MemoryConfig(activation="relu", anneal_from_softmax=part) for part in (1, 0))
    annealed, plain = (SelfAttention(config, E, H) for config in configs)
    plain.load_state_dict(annealed.state_dict())
    x = torch.randn(2, 5, E)
    torch.testing.assert_close(annealed(x, AttentionMask(5)).output, plain(x, AttentionMask(5)).output)
