"""Fused ReLU attention in Triton equals the dense float64 one: on a CUDA device, or in Triton's interpreter.

`tests/unit/memory/backends/test_triton_relu.py` runs this file in the interpreter. A score that rounds across 0 changes
single gradients, so results are compared by the norm of their difference; a wrong row or slot changes it far more.
"""

from __future__ import annotations

import math
import os

import pytest
import torch
from torch import Tensor

from reluformer.config.memory import PenaltyConfig
from reluformer.memory.activations import ScaledReLU
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty, RowSums
from reluformer.memory.read import read
from reluformer.ops.dropout import draw_seed

pytest.importorskip("triton", reason="needs triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.gpu

from reluformer.memory.backends import FUNCTORS, AttentionOptions  # noqa: E402
from reluformer.memory.backends.triton_relu import _attend, triton_relu_attention  # noqa: E402

ALLOWED = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
KINDS = ["all", "ragged", "causal", "both"]
SHAPES = [
    (1, 1, 16),
    (1, 40, 24),
    (7, 3, 32),
    (33, 65, 64),
    (64, 64, 128),
    (130, 257, 80),
    (513, 129, 16),
    (65, 513, 48),
]
GRID = [(*shape, kind) for shape in SHAPES for kind in KINDS]
if INTERPRETED:  # slow: each large shape once
    GRID = GRID[: 4 * len(KINDS)]
    GRID += [(64, 64, 128, "both"), (130, 140, 80, "both"), (257, 65, 16, "causal"), (1, 257, 48, "ragged")]


@pytest.fixture(autouse=True)
def _exact_matmul(monkeypatch):
    if not INTERPRETED:
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def make_inputs(rows, slots, width, dtype=torch.float32, batch=2, heads=2):
    """Returns query, key and value on the device and copies in float64, all requiring gradients."""
    torch.manual_seed(rows * 1000 + slots)
    ours = [torch.randn(batch, heads, n, width).to(DEVICE, dtype).requires_grad_() for n in (rows, slots, slots)]
    return ours, [t.detach().double().requires_grad_() for t in ours]


def visible_keys(kind, slots, batch=2):
    lengths = torch.tensor([max(1, slots // 2), slots, 0][:batch])
    return (torch.arange(slots)[None] < lengths[:, None]).to(DEVICE) if kind in ("ragged", "both") else None


def dense(query, key, value, keys, causal, scale, factor=None):
    """Returns (output, Σs, Σ s log s, s) from the full weights s, [B, H, Q, K]; `factor` scales those of the output."""
    s = (scale * query @ key.mT).relu()
    mask = AttentionMask(key.size(-2), keys, causal).mask(query.size(-2), query.device)
    s = s if mask is None else s * mask
    return (s if factor is None else s * factor) @ value, *RowSums.apply(s), s


def probe(results):
    """Reduces tensors to one number in which every element has a different weight."""
    total = 0.0
    for n, tensor in enumerate(results):
        index = torch.arange(tensor.numel(), device=tensor.device, dtype=torch.float64).view(tensor.shape)
        total = total + (tensor.double() * torch.cos(index + n)).sum()
    return total


def assert_near(ours, exact, allowed=ALLOWED[torch.float32]):
    for actual, expected in zip(ours, exact, strict=True):
        assert actual.shape == expected.shape
        assert (actual.double() - expected).norm() <= allowed * expected.norm() + 1e-6


@pytest.mark.parametrize(("rows", "slots", "width", "kind"), GRID)
def test_equals_double(rows, slots, width, kind):
    """With a learned γ per head folded into the query; includes its gradient and those of the row statistics."""
    ours, exact = make_inputs(rows, slots, width)
    keys, causal = visible_keys(kind, slots), kind in ("causal", "both")
    results = []
    for (query, key, value), call in ((ours, triton_relu_attention), (exact, None)):
        log_gamma = torch.tensor([0.3, -0.5], dtype=query.dtype, device=DEVICE).view(2, 1, 1).requires_grad_()
        count = torch.as_tensor(AttentionMask(slots, keys, causal).count(rows, query), dtype=query.dtype, device=DEVICE)
        scaled = query * (2 / count).sqrt() * torch.exp(-log_gamma)
        if call:
            read = call(scaled, key, value, AttentionOptions(keys, causal, width**-0.5, statistics=True))
        else:
            read = dense(scaled, key, value, keys, causal, width**-0.5)[:3]
        grads = torch.autograd.grad(probe(read), (query, key, value, log_gamma))
        results.append([*read, *grads])
    assert_near(*results)


@pytest.mark.parametrize(("rows", "slots", "width", "kind"), [case for case in GRID if case[1] in (3, 65, 129)])
def test_without_statistics(rows, slots, width, kind):
    ours, exact = make_inputs(rows, slots, width, batch=1 if kind == "all" else 2)
    keys, causal = visible_keys(kind, slots), kind in ("causal", "both")
    output, total, logs = triton_relu_attention(*ours, AttentionOptions(keys=keys, causal=causal, scale=0.25))
    assert total is None and logs is None
    expected = dense(*exact, keys, causal, 0.25)[0]
    assert_near(
        [output, *torch.autograd.grad(probe([output]), ours)],
        [expected, *torch.autograd.grad(probe([expected]), exact)],
    )


@pytest.mark.parametrize("function", FUNCTORS)
@pytest.mark.parametrize(
    ("rows", "slots", "width", "kind"), [(1, 40, 24, "ragged"), (33, 65, 64, "both"), (64, 64, 32, "all")]
)
def test_other_functions_with_a_shift(function, rows, slots, width, kind):
    """Compares the output and its gradients; a hidden slot gets no weight, whatever f(shift) is."""
    ours, exact = make_inputs(rows, slots, width)
    keys, causal = visible_keys(kind, slots), kind in ("causal", "both")
    shift = torch.linspace(-1, 0.5, rows, device=DEVICE).view(1, 1, rows, 1)
    options = AttentionOptions(keys, causal, 0.25, shift=shift, function=function)
    read = triton_relu_attention(*ours, options).output
    query, key, value = exact
    s = 0.25 * query @ key.mT + shift
    s = s.sigmoid() if function == "sigmoid" else s.relu() ** (2 if function == "relu-squared" else 1)
    mask = AttentionMask(slots, keys, causal).mask(rows, query.device)
    expected = (s if mask is None else s * mask) @ value
    assert_near(
        [read, *torch.autograd.grad(probe([read]), ours)],
        [expected, *torch.autograd.grad(probe([expected]), exact)],
    )


def weights_after_dropout(query, key, keys, causal, scale, dropout, seed, width):
    """Returns the weights after dropout, [B, H, Q, K], read with unit vectors as values, `width` at a time."""
    parts = []
    for start in range(0, key.size(-2), width):
        unit = torch.zeros(key.size(-2), width, device=DEVICE)
        unit[torch.arange(start, min(start + width, key.size(-2))), torch.arange(min(width, key.size(-2) - start))] = 1
        value = unit.expand(*key.shape[:2], -1, -1)
        parts.append(
            triton_relu_attention(
                query, key, value, AttentionOptions(keys=keys, causal=causal, scale=scale, dropout=dropout, seed=seed)
            )[0]
        )
    return torch.cat(parts, -1)[..., : key.size(-2)].detach()


@pytest.mark.parametrize(
    ("rows", "slots", "width", "kind"),
    [(7, 3, 32, "both"), (40, 70, 64, "both"), *([] if INTERPRETED else [(140, 150, 128, "causal")])],
)
def test_dropout_is_seeded_and_the_same_in_backward(rows, slots, width, kind):
    ours, exact = make_inputs(rows, slots, width)
    query, key, _ = (t.detach() for t in ours)
    keys, causal = visible_keys(kind, slots), kind in ("causal", "both")
    seed, rate = 2**40 + 7, 0.3
    kept_weights = weights_after_dropout(query, key, keys, causal, 0.25, rate, seed, width)
    *_, s = dense(*exact, keys, causal, 0.25)
    factor = (kept_weights != 0) / (1 - rate)
    assert_near([kept_weights], [s.detach() * factor])
    alive = s > 1e-6
    if alive.sum() > 1000:
        kept_share = (kept_weights != 0)[alive].double().mean().item()
        assert abs(kept_share - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / alive.sum().item())
        other = weights_after_dropout(query, key, keys, causal, 0.25, rate, seed + 1, width) != 0
        agree = ((kept_weights != 0) == other)[alive].double().mean().item()
        assert agree == pytest.approx(rate**2 + (1 - rate) ** 2, abs=0.05)
        assert not torch.equal(factor[0, 0][alive[0, 0] & alive[0, 1]], factor[0, 1][alive[0, 0] & alive[0, 1]])
    read = triton_relu_attention(
        *ours, AttentionOptions(keys=keys, causal=causal, scale=0.25, dropout=rate, seed=seed, statistics=True)
    )
    expected = dense(*exact, keys, causal, 0.25, factor)[:3]
    assert_near(
        [*read, *torch.autograd.grad(probe(read), ours)], [*expected, *torch.autograd.grad(probe(expected), exact)]
    )


def test_penalty_from_the_sums_equals_the_penalty_of_the_weights():
    ours, exact = make_inputs(30, 50, 32)
    keys = visible_keys("ragged", 50)
    rows = torch.arange(30, device=DEVICE)[None] < torch.tensor([[12], [30]], device=DEVICE)
    penalty, visible = Penalty(PenaltyConfig(weight=1.0, margin=0.4)), AttentionMask(50, keys)
    _, total, logs = triton_relu_attention(*ours, AttentionOptions(keys=keys, scale=0.02, statistics=True))
    loss = penalty(total, logs, visible.count(30, total), rows)
    *_, s = dense(*exact, keys, False, 0.02)
    expected = penalty(*RowSums.apply(s), visible.count(30, s), rows)
    assert_near([loss, *torch.autograd.grad(loss, ours[:2])], [expected, *torch.autograd.grad(expected, exact[:2])])


@pytest.mark.parametrize("causal", [False, True])
def test_a_read_is_the_same_as_with_its_weights(causal, monkeypatch):
    """By the read of the memory, with a learned γ and the penalty."""
    ours, _ = make_inputs(20, 40, 16)
    rows = torch.arange(20, device=DEVICE)[None] < torch.tensor([[20], [7]], device=DEVICE)
    activation = ScaledReLU(2, "learned").to(DEVICE)
    results = []
    for name in ("triton", "reference"):
        monkeypatch.setenv("RELUFORMER_KERNEL", name)
        visible, penalty = AttentionMask(40, visible_keys("ragged", 40), causal), Penalty(PenaltyConfig(weight=1.0))
        reading = read(*ours, activation, visible, scale=0.25, penalty=penalty, rows=rows)
        loss = probe([reading.output]) + reading.penalty
        results.append([reading.output, reading.penalty, *torch.autograd.grad(loss, (*ours, activation.log_gamma))])
    assert_near(results[0], [result.double() for result in results[1]])


@pytest.mark.parametrize("dtype", [torch.float16] if INTERPRETED else [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "slots", "width"), [(5, 9, 16), (70, 130, 64)])
def test_half_precision(rows, slots, width, dtype):
    """bf16 on a GPU only: the interpreter multiplies bf16 as if it were integers (Triton 3.7)."""
    ours, exact = make_inputs(rows, slots, width, dtype)
    read = triton_relu_attention(
        *ours, AttentionOptions(keys=visible_keys("ragged", slots), scale=0.2, statistics=True)
    )
    expected = dense(*exact, visible_keys("ragged", slots), False, 0.2)[:3]
    assert read[0].dtype == dtype and read[1].dtype == read[2].dtype == torch.float32
    assert_near(
        [*read, *torch.autograd.grad(probe(read), ours)],
        [*expected, *torch.autograd.grad(probe(expected), exact)],
        ALLOWED[dtype],
    )


@pytest.mark.skipif(INTERPRETED, reason="as above, on tensor cores; the dense reference is too large elsewhere")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "slots", "width"), [*SHAPES, (1000, 1500, 64), (2048, 2048, 128)])
def test_half_precision_on_the_card(rows, slots, width, kind, dtype):
    ours, exact = make_inputs(rows, slots, width, dtype)
    keys, causal = visible_keys(kind, slots), kind in ("causal", "both")
    read = triton_relu_attention(*ours, AttentionOptions(keys=keys, causal=causal, scale=width**-0.5, statistics=True))
    expected = dense(*exact, keys, causal, width**-0.5)[:3]
    assert_near(
        [*read, *torch.autograd.grad(probe(read), ours)],
        [*expected, *torch.autograd.grad(probe(expected), exact)],
        ALLOWED[dtype],
    )


def test_strides():
    """Slices of one joint projection, and a gradient that is an expanded scalar."""
    torch.manual_seed(0)
    joint = torch.randn(2, 21, 3, 4, 16, device=DEVICE, requires_grad=True)
    query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
    output, *_ = triton_relu_attention(query, key, value, AttentionOptions(causal=True, scale=0.25))
    assert output.transpose(1, 2).is_contiguous()  # heads are joined without a copy
    wide = joint.detach().double().requires_grad_()
    expected, *_ = dense(*wide.permute(2, 0, 3, 1, 4).unbind(0), None, True, 0.25)
    (grad,) = torch.autograd.grad(output.sum(), joint)
    assert_near([output, grad], [expected, *torch.autograd.grad(expected.sum(), wide)])


def test_holes_and_rows_that_see_nothing():
    ours, exact = make_inputs(20, 50, 16)
    keys = torch.rand(2, 50, device=DEVICE) < 0.5
    keys[1] = False
    read = triton_relu_attention(*ours, AttentionOptions(keys=keys, scale=0.25, statistics=True))
    expected = dense(*exact, keys, False, 0.25)[:3]
    grads = torch.autograd.grad(probe(read), ours)
    assert_near([*read, *grads], [*expected, *torch.autograd.grad(probe(expected), exact)])
    assert not any(t[1].any() for t in (*read, *grads))
    assert not any(grad.transpose(1, 2)[~keys].any() for grad in grads[1:])


def test_tiles_without_a_positive_score():
    """Slots 128 to 383 give every row but the last a negative score."""
    ours, _ = make_inputs(150, 520, 16, batch=1, heads=1)
    with torch.no_grad():
        ours[0][..., 0], ours[1][..., 0] = 1.0, 0.0
        ours[0][:, :, -1, 0], ours[1][:, :, 128:384, 0] = -1.0, -90.0
    exact = [t.detach().double().requires_grad_() for t in ours]
    read = triton_relu_attention(*ours, AttentionOptions(scale=0.25, statistics=True))
    expected = dense(*exact, None, False, 0.25)[:3]
    grads, expected_grads = torch.autograd.grad(probe(read), ours), torch.autograd.grad(probe(expected), exact)
    assert expected[1][0, 0, -1] > 20 * expected[1][0, 0, 0]
    assert_near([*read, *grads], [*expected, *expected_grads])


@pytest.mark.parametrize("shape", [(2, 2, 0, 3), (2, 2, 3, 0), (0, 2, 3, 3), (2, 0, 3, 3)])
def test_nothing_to_read(shape):
    batch, heads, rows, slots = shape
    ours = [torch.randn(batch, heads, n, 16, device=DEVICE, requires_grad=True) for n in (rows, slots, slots)]
    read = triton_relu_attention(*ours, AttentionOptions(causal=True, statistics=True))
    assert [tuple(t.shape) for t in read] == [(batch, heads, rows, 16)] + [(batch, heads, rows)] * 2
    grads = torch.autograd.grad(sum(t.sum() for t in read), ours)
    assert not any(t.any() for t in (*read, *grads))


@pytest.mark.parametrize("slots", [9, 300])
def test_not_a_number_is_not_hidden(slots):
    (query, key, value), _ = make_inputs(5, slots, 16)
    with torch.no_grad():
        query[0, 0, 2, 3] = float("nan")
    output, *_ = triton_relu_attention(query, key, value, AttentionOptions(scale=0.25))
    assert output[0, 0, 2].isnan().all()
    assert output.isnan().sum() == 16


def test_backward_keeps_no_weights():
    ours, _ = make_inputs(40, 60, 16)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        triton_relu_attention(*ours, AttentionOptions(scale=0.25, statistics=True, dropout=0.1))
    assert {t.data_ptr() for t in saved} == {t.data_ptr() for t in ours}


@pytest.mark.skipif(INTERPRETED, reason="memory of a CUDA device")
def test_memory_is_linear():
    """At 8,192 tokens, less than a tenth of one weight matrix."""
    ours = [torch.randn(1, 8, 8192, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    triton_relu_attention(*ours, AttentionOptions(scale=0.125))[0].sum().backward()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    triton_relu_attention(*ours, AttentionOptions(scale=0.125))[0].sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 8 * 8192 * 8192 * 2 / 10


@pytest.mark.parametrize("causal", [False, True])
def test_the_operator_is_well_formed(causal):
    """Its schema, fake tensors and autograd pass opcheck, as torch.compile needs."""
    ours, _ = make_inputs(5, 9, 16)
    arguments = (*ours, visible_keys("ragged", 9), None, causal, 0.25, 0.1, 3, True, "relu")
    torch.library.opcheck(
        _attend, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )


def test_it_is_compiled_for_all_shapes():
    """With a dropout seed that the compiled program draws anew from torch's generator on each call."""

    def attend(query, key, value):
        return triton_relu_attention(
            query, key, value, AttentionOptions(causal=True, dropout=0.5, seed=draw_seed(), statistics=True)
        )

    torch._dynamo.reset()
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    outputs = []
    for rows in (9, 9, 17):
        ours, _ = make_inputs(rows, 17, 16)
        results = []
        for function in (compiled, attend):
            torch.manual_seed(len(outputs))
            read = function(*ours)
            results.append([*read, *torch.autograd.grad(probe(read), ours)])
        torch.testing.assert_close(*results)
        outputs.append(results[0][0])
    assert not torch.equal(*outputs[:2])


def test_bad_arguments():
    (query, key, value), _ = make_inputs(5, 9, 16)
    for tensors, wrong in (
        ((query.double(), key, value), {}),
        ((query, key[:, :, :4], value), {}),
        ((query, key, value[..., :8]), {}),
        ((query, key, value), {"keys": torch.ones(2, 5, dtype=torch.bool, device=DEVICE)}),
        ((query, key, value), {"keys": torch.ones(2, 9, device=DEVICE)}),
        ((query, key, value), {"dropout": 1.0}),
    ):
        with pytest.raises(ValueError):
            triton_relu_attention(*tensors, AttentionOptions(**wrong))
    wide = torch.randn(1, 1, 2, 129, device=DEVICE)
    with pytest.raises(ValueError, match="129"):
        triton_relu_attention(wide, wide, wide, AttentionOptions())
