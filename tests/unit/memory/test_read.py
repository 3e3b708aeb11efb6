"""The read against plain loops written from the paper's equations, in float64."""

from __future__ import annotations

import math

import entmax
import pytest
import torch

from reluformer.config.memory import MemoryConfig, PenaltyConfig
from reluformer.memory.activations import build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import read

ACTIVATIONS = {
    "softmax": {"activation": "softmax", "options": {"temperature": 0.7}},
    "relu": {"activation": "relu"},
    "relu-scaled": {"activation": "relu-scaled", "options": {"gamma": 0.5}},
    "relu-scaled-learned": {"activation": "relu-scaled", "options": {"gamma": "learned"}},
    "sparsemax": {"activation": "sparsemax", "options": {"temperature": 1.5}},
    "entmax15": {"activation": "entmax15"},
    "relu-length": {"activation": "relu-length", "options": {"alpha": 0.75}},
    "relu-squared": {"activation": "relu-squared", "options": {"alpha": 0.5}},
    "relu-shifted": {"activation": "relu-shifted", "options": {"bias": 0.3}},
    "sigmoid": {"activation": "sigmoid"},
    "softpick": {"activation": "softpick"},
    "softmax-scalable": {"activation": "softmax-scalable"},
    "softplus": {"activation": "softplus"},
    "entmax": {"activation": "entmax"},
}
B, H, D = 3, 2, 5


def activation(name, dtype=torch.float64):
    torch.manual_seed(5)
    built = build_activation(MemoryConfig(**ACTIVATIONS[name]), H).to(dtype)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built


def tensors(rows, slots, dtype=torch.float64, width=D):
    torch.manual_seed(rows * 100 + slots)
    return tuple(torch.randn(B, H, n, width, dtype=dtype, requires_grad=True) for n in (rows, slots, slots))


def visible_slots(kind, rows, slots):
    """Returns an `AttentionMask` of this kind, and the lists of slots that each row of each batch entry sees."""
    lengths = [slots, max(1, slots // 2), max(1, slots - 2)]
    keys = torch.arange(slots)[None] < torch.tensor(lengths)[:, None] if kind in ("ragged", "both") else None
    causal = kind in ("causal", "both")
    seen = [
        [
            [j for j in range(slots) if (keys is None or keys[b, j]) and (not causal or j <= i + slots - rows)]
            for i in range(rows)
        ]
        for b in range(B)
    ]
    return AttentionMask(slots, keys, causal), seen


def loop_weights(name, scores, n, head, built):
    """Computes f of one row's visible scores by its equation."""
    if name == "softmax":
        powers = [math.exp(s / 0.7) for s in scores]
        return [p / sum(powers) for p in powers]
    if name == "relu":
        return [max(s, 0.0) for s in scores]
    if name == "relu-scaled":  # Eq. 6
        return [max(s, 0.0) / (0.5 * math.sqrt(n / 2)) for s in scores]
    if name == "relu-scaled-learned":
        gamma = math.exp(built.log_gamma[head].item())
        return [max(s, 0.0) / (gamma * math.sqrt(n / 2)) for s in scores]
    if name == "relu-length":
        return [max(s, 0.0) / n**0.75 for s in scores]
    if name == "relu-squared":
        return [max(s, 0.0) ** 2 / n**0.5 for s in scores]
    if name == "relu-shifted":
        return [max(s + 0.3, 0.0) / n for s in scores]
    if name == "sigmoid":
        return [1 / (1 + math.exp(-(s - math.log(n)))) for s in scores]
    if name == "softpick":
        total = sum(abs(math.exp(s) - 1) for s in scores)
        return [max(math.exp(s) - 1, 0.0) / total for s in scores]
    if name == "softmax-scalable":
        powers = [n ** (built.slope[head].item() * s) for s in scores]
        return [p / sum(powers) for p in powers]
    if name == "softplus":
        positive = [math.log1p(math.exp(math.log(max(n, 2)) * s)) for s in scores]
        return [p / sum(positive) for p in positive]
    if name == "entmax":
        return loop_entmax(scores, 1 + 1 / (1 + math.exp(-built.logit[head].item())))
    exact, temperature = {"sparsemax": (entmax.sparsemax, 1.5), "entmax15": (entmax.entmax15, 1.0)}[name]
    return exact(torch.tensor(scores, dtype=torch.float64) / temperature, dim=-1).tolist()


def loop_entmax(scores, alpha):
    """Computes α-entmax of a row by definition, [(α−1)s − τ]₊^(1/(α−1)), with τ such that it sums to 1."""

    def powers(tau):
        return [max((alpha - 1) * s - tau, 0.0) ** (1 / (alpha - 1)) for s in scores]

    low, high = (alpha - 1) * max(scores) - 1, (alpha - 1) * max(scores)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(powers(middle)) >= 1 else (low, middle)
    return powers(low)


def loop_read(name, built, query, key, value, seen, scale):
    """Computes output [B, H, Q, D] and weights [B, H, Q, K] by loops over batch, heads, rows and slots."""
    weights = torch.zeros(*query.shape[:3], key.size(2), dtype=torch.float64)
    output = torch.zeros_like(query)
    for b in range(query.size(0)):
        for h in range(query.size(1)):
            for i in range(query.size(2)):
                slots = seen[b][i]
                scores = [
                    scale * sum(query[b, h, i, d].item() * key[b, h, j, d].item() for d in range(D)) for j in slots
                ]
                for j, w in zip(slots, loop_weights(name, scores, len(slots), h, built), strict=True):
                    weights[b, h, i, j] = w
                    output[b, h, i] += w * value[b, h, j].detach()
    return output.detach(), weights


def loop_penalty(weights, seen, config, rows):
    """Computes Eq. 7 by loops: |log Σs| + max(H(s) − C, 0), averaged over real rows and heads, times λ."""
    losses = []
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in weights.shape[:3])).tolist():
        if not rows[b, i]:
            continue
        s = [weights[b, h, i, j].item() for j in seen[b][i]]
        total = sum(s)
        log_total = math.log(max(total, 1e-4))
        loss = (abs(log_total) if config.absolute else log_total) if config.normalisation else 0.0
        if config.entropy:
            p = s if config.entropy_of == "raw" else ([x / total for x in s] if total > 0 else [])
            entropy = -sum(x * math.log(x) for x in p if x > 0)
            loss += max(entropy - config.margin * math.log(len(seen[b][i])), 0.0)
        losses.append(loss)
    return config.weight * sum(losses) / len(losses)


@pytest.mark.parametrize("kind", ["all", "ragged", "causal", "both"])
@pytest.mark.parametrize(("rows", "slots"), [(4, 4), (3, 7), (1, 6)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_loops(name, rows, slots, kind):
    built, visible_and_seen = activation(name), visible_slots(kind, rows, slots)
    query, key, value = tensors(rows, slots)
    visible, seen = visible_and_seen
    expected, expected_weights = loop_read(name, built, query, key, value, seen, 0.4)
    fused = read(query, key, value, built, visible, scale=0.4)
    open_ = read(query, key, value, built, visible, scale=0.4, observe=True)
    torch.testing.assert_close(fused.output, expected)
    torch.testing.assert_close(open_.output, expected)
    torch.testing.assert_close(open_.observation.weights, expected_weights)
    assert fused.observation is None and fused.penalty is None


@pytest.mark.parametrize(
    "part", [{}, {"entropy": False}, {"normalisation": False}, {"entropy_of": "raw"}, {"absolute": False}]
)
@pytest.mark.parametrize("name", ["relu", "relu-scaled", "softmax"])
def test_penalty_equals_loops(name, part):
    config = PenaltyConfig(weight=0.3, margin=0.5, **part)
    built = activation(name)
    query, key, value = tensors(5, 6)
    visible, seen = visible_slots("ragged", 5, 6)
    rows = torch.arange(5)[None] < torch.tensor([5, 2, 4])[:, None]
    reading = read(query, key, value, built, visible, penalty=Penalty(config), rows=rows, observe=True)
    assert reading.penalty.item() == pytest.approx(
        loop_penalty(reading.observation.weights, seen, config, rows), rel=1e-9
    )


@pytest.mark.parametrize("kind", ["ragged", "causal"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(name, kind):
    built, (visible, _) = activation(name), visible_slots(kind, 3, 4)
    inputs = (*tensors(3, 4, width=2), *built.parameters())
    assert torch.autograd.gradcheck(lambda q, k, v, *_: read(q, k, v, built, visible, scale=0.4).output, inputs)


@pytest.mark.parametrize("part", [{}, {"entropy_of": "raw"}, {"absolute": False}])
@pytest.mark.parametrize("name", ["relu-scaled-learned", "relu", "softmax"])
def test_gradients_with_the_penalty(name, part):
    built, (visible, _) = activation(name), visible_slots("ragged", 3, 4)
    penalty = Penalty(PenaltyConfig(weight=0.7, margin=0.3, **part))
    rows = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])

    def output_and_penalty(query, key, value, *_):
        reading = read(query, key, value, built, visible, penalty=penalty, rows=rows)
        return reading.output, reading.penalty

    assert torch.autograd.gradcheck(output_and_penalty, (*tensors(3, 4, width=2), *built.parameters()))


def test_learned_slots_are_the_same_read():
    """A read of [K, D] slots equals a read of a sequence shared by all batch entries, with biases as in an FFN."""
    torch.manual_seed(1)
    x, key, value = torch.randn(2, 3, D), torch.randn(7, D), torch.randn(7, D)
    bias = torch.randn(7)
    built = build_activation(MemoryConfig(activation="relu"))
    out = read(x, key, value, built, AttentionMask(7)).output
    shared = read(x[:, None], key.expand(2, 1, 7, D), value.expand(2, 1, 7, D), built, AttentionMask(7)).output
    torch.testing.assert_close(out, shared[:, 0])
    torch.testing.assert_close(
        read(x, key, value, built, AttentionMask(7), bias=bias).output, (x @ key.T + bias).relu() @ value
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dropout_is_on_the_weights_and_after_the_penalty(name):
    built, (visible, _) = activation(name), visible_slots("ragged", 4, 6)
    query, key, value = tensors(4, 6)
    penalty = Penalty(PenaltyConfig())
    plain = read(query, key, value, built, visible, penalty=penalty, observe=True)
    torch.manual_seed(0)
    total = torch.zeros_like(plain.output)
    for _ in range(100):
        dropped = read(query, key, value, built, visible, penalty=penalty, dropout=0.2, observe=True)
        total += dropped.output.detach()
        assert torch.equal(dropped.observation.weights, plain.observation.weights)
        assert torch.equal(dropped.penalty, plain.penalty)
    assert not torch.equal(dropped.output, plain.output)
    spread = value.abs().max() * plain.observation.weights.abs().max() * 2
    assert (total / 100 - plain.output).abs().max() < 0.2 * spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rows_that_see_nothing_or_have_no_positive_score_are_finite(name, weights, dtype):
    """Forward and backward, with the penalty: a batch entry of padding only, and a row of negative scores."""
    built = activation(name, dtype)
    query, key, value = (t.detach().to(dtype).requires_grad_() for t in tensors(4, 6))
    with torch.no_grad():
        key[1] = key[1].abs() * 20
        query[1] = -query[1].abs() * 20
    visible = AttentionMask(6, torch.tensor([[False] * 6, [True] * 6, [True] * 2 + [False] * 4]))
    penalty = Penalty(PenaltyConfig(weight=1.0)) if weights else None
    reading = read(query, key, value, built, visible, penalty=penalty, observe=weights)
    assert reading.output.dtype == dtype
    assert not reading.output[0].any()
    if name.startswith("relu"):
        assert not reading.output[1].any()
    loss = reading.output.float().sum() + (reading.penalty if weights else 0)
    if weights:
        assert reading.penalty.dtype == torch.float32
    loss.backward()
    for tensor in (loss, query.grad, key.grad, value.grad, *(p.grad for p in built.parameters())):
        assert tensor.isfinite().all()
    assert not value.grad[0].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_half_precision_is_close_to_double(name, dtype):
    query, key, value = tensors(6, 9)
    visible, _ = visible_slots("ragged", 6, 9)
    exact = read(query, key, value, activation(name), visible, scale=0.4).output
    half = read(query.to(dtype), key.to(dtype), value.to(dtype), activation(name, dtype), visible, scale=0.4).output
    torch.testing.assert_close(half.double(), exact, atol=0.08, rtol=0.05)


@pytest.mark.parametrize("n", [8, 64, 512, 4096])
def test_variance_law(n):
    """Σ over n of ReLU(x)·v has variance n/2 on Gaussian inputs; the factor of Eq. 6 makes it 1/γ² at every n."""
    torch.manual_seed(n)
    d, draws = 64, 40
    query, key = torch.randn(draws, 1, 64, d), torch.randn(draws, 1, n, d)
    value = torch.randn(draws, 1, n, d)
    for name, options, expected in (("relu", {}, n / 2), ("relu-scaled", {"gamma": 2.0}, 1 / 4)):
        built = build_activation(MemoryConfig(activation=name, options=options))
        out = read(query, key, value, built, AttentionMask(n), scale=d**-0.5).output
        assert out.var().item() == pytest.approx(expected, rel=0.1)


def test_a_shift_is_not_dropped_by_a_kernel():
    """The kernels compute c_i but not b_i, so a ReLU with a shift is read without them."""
    built = build_activation(MemoryConfig(activation="relu-shifted"), H).float()
    query, key, value = tensors(4, 6, torch.float32)
    weights = (query @ key.mT / 6 + 1 / 6).relu()
    torch.testing.assert_close(read(query, key, value, built, AttentionMask(6)).output, weights @ value)
