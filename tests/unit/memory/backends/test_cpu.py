from __future__ import annotations

import pytest
import torch

from reluformer.memory.backends import AttentionOptions
from reluformer.memory.backends.cpu import SOURCE, cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops.heads import side_by_side, split_heads
from reluformer.ops.paths import library

pytestmark = pytest.mark.skipif(library(SOURCE) is None, reason="needs a C++ compiler")

OPTIONS = {"keys": None, "causal": True, "scale": 0.25, "dropout": 0.1, "seed": 5, "statistics": True}


def outcome(query, key, value, kernel=cpu_relu_attention, **changes):
    """Returns outputs and gradients of one pass."""
    leaves = [x.detach().requires_grad_() for x in (query, key, value)]
    results = [x for x in kernel(*leaves, AttentionOptions(**OPTIONS | changes)) if x is not None]
    torch.autograd.backward(results, [torch.ones_like(x) for x in results])
    return [*(x.detach() for x in results), *(x.grad for x in leaves)]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_equals_float64(compare, case):
    compare(cpu_relu_attention, case)


@pytest.mark.parametrize("mask", ["all", "ragged", "causal", "both"])
@pytest.mark.parametrize(("rows", "slots", "width"), [(1, 1, 16), (1, 60, 64), (2, 7, 128), (3, 130, 32), (3, 2, 48)])
def test_decoding_a_few_rows_gives_nearly_the_same(make_case, make_inputs, rows, slots, width, mask):
    """Without gradients, so few rows take a separate path."""
    case = make_case(rows, slots, width, mask, 0.0, True)
    query, key, value, *_ = make_inputs(case)
    keys = torch.tensor([[True] * slots, [True] + [False] * (slots - 1), [False] * slots])
    options = OPTIONS | {"dropout": 0.0, "causal": mask in ("causal", "both")}
    options["keys"] = keys if mask in ("ragged", "both") else None
    exact = tiled_relu_attention(query.double(), key.double(), value.double(), AttentionOptions(**options))
    for statistics in (False, True):
        ours = cpu_relu_attention(query, key, value, AttentionOptions(**options | {"statistics": statistics}))
        for actual, expected in zip(ours, exact, strict=True):
            if actual is not None:
                torch.testing.assert_close(actual.double(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32(compare, make_case, dtype):
    tolerance = {torch.bfloat16: 4e-3, torch.float16: 5e-4}[dtype]
    compare(cpu_relu_attention, make_case(40, 70, 32, "both", 0.2, True), dtype, tolerance)


@pytest.mark.parametrize("heads", [1, 6])
def test_results_are_deterministic_and_close_for_any_number_of_threads(heads, threads):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, n, 64) for n in (300, 500, 500))
    outputs = {}
    for count in (1, 2, 5):
        threads(count)
        outputs[count] = outcome(query, key, value)
        for _ in range(3):
            for once, again in zip(outputs[count], outcome(query, key, value), strict=True):
                assert torch.equal(once, again)
    for count in (2, 5):
        for index, (single, multiple) in enumerate(zip(outputs[1], outputs[count], strict=True)):
            if heads == 6 or index != 3:  # the query's gradient is summed over the parts of a head
                assert torch.equal(single, multiple)
            torch.testing.assert_close(single, multiple, atol=1e-4, rtol=1e-4)


def test_rows_without_a_positive_score_and_tiles_of_them():
    """Skipped tiles are 0 in every result, next to tiles that are computed."""
    torch.manual_seed(1)
    query, key, value = (torch.randn(1, 2, 400, 32).mul(2).round() for _ in range(3))  # exact scores
    query[:, :, 100:300] = -query[:, :, 100:300].abs()
    key[:, :, 50:350] = key[:, :, 50:350].abs()
    for changes in ({"causal": False}, {"causal": False, "statistics": False}):
        for ours, theirs in zip(
            outcome(query, key, value, **changes),
            outcome(query.double(), key.double(), value.double(), tiled_relu_attention, **changes),
            strict=True,
        ):
            torch.testing.assert_close(ours.double(), theirs, atol=1e-3, rtol=1e-3)
    query[:] = -1.0
    key[:] = 1.0
    assert not any(x.any() for x in outcome(query, key, value))


def test_infinite_and_undefined_scores_are_not_hidden():
    """So that a diverging training is noticed."""
    for bad in (float("nan"), float("inf")):
        query, key, value = (torch.ones(1, 1, 5, 16) for _ in range(3))
        query[0, 0, 2, 3] = bad
        output, total, *_ = outcome(query, key, value, causal=False, dropout=0.0)
        assert not output[0, 0, 2].isfinite().any() and not total[0, 0, 2].isfinite()
        assert output[0, 0, [0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 1, 130, 1), (2, 3, 130, 1)])
@pytest.mark.parametrize("heads", ["few", "many"])
def test_a_row_factor_equals_a_scaled_query(shape, heads, threads):
    threads(16 if heads == "few" else 1)  # fewer heads than threads: partial gradients of the query are added
    torch.manual_seed(2)
    query, key, value = (torch.randn(2, 3, 130, 32) for _ in range(3))
    factor = torch.rand(shape) + 0.5
    leaf = query.clone().requires_grad_()
    results = [cpu_relu_attention(leaf, key, value, AttentionOptions(factor=factor, **OPTIONS))]
    results.append(cpu_relu_attention(leaf * factor, key, value, AttentionOptions(**OPTIONS)))
    grads = [torch.autograd.grad([x.sum() for x in result], leaf)[0] for result in results]
    for actual, expected in zip((*results[0], grads[0]), (*results[1], grads[1]), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-5)
    few = [
        cpu_relu_attention(
            query[:, :, :1], key, value, AttentionOptions(factor=factor[:, :, :1], **OPTIONS | {"dropout": 0.0})
        )
    ]
    few.append(
        cpu_relu_attention(
            query[:, :, :1] * factor[:, :, :1], key, value, AttentionOptions(**OPTIONS | {"dropout": 0.0})
        )
    )
    for actual, expected in zip(*few, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_gradients_share_the_layout_of_the_tensors_and_are_zero_for_hidden_slots():
    torch.manual_seed(4)
    joint = torch.randn(2, 7, 3 * 2 * 16).requires_grad_()
    query, key, value = split_heads(joint, 2, 3)
    keys = torch.tensor([[True] * 7, [True, False] * 3 + [False]])
    output, *_ = cpu_relu_attention(
        query, key, value, AttentionOptions(**OPTIONS | {"keys": keys, "statistics": False})
    )
    grads = torch.autograd.grad(output.square().sum(), (query, key, value))
    assert side_by_side(grads)
    for grad in grads[1:]:
        assert not grad[1, :, ~keys[1]].any() and grad[1, :, 0].all()


def test_gradients_of_any_layout(make_case, make_inputs):
    query, key, value, *_ = make_inputs(make_case(6, 9, 16, "all", 0.0, False))
    plain = outcome(query, key, value)
    query, key, value = (x.mT.contiguous().mT for x in (query, key, value))  # the last dimension is not dense
    for actual, expected in zip(plain, outcome(query, key, value), strict=True):
        assert torch.equal(actual, expected)
    leaf = query.detach().requires_grad_()
    cpu_relu_attention(leaf, key, value, AttentionOptions(**OPTIONS))[
        0
    ].sum().backward()  # an expanded gradient: all strides are 0
    assert leaf.grad.isfinite().all() and leaf.grad.any()


def test_empty_inputs():
    for batch, rows, slots in ((2, 0, 3), (2, 3, 0), (0, 3, 3)):
        output, *_ = outcome(*(torch.randn(batch, 2, n, 8) for n in (rows, slots, slots)))
        assert output.shape == (batch, 2, rows, 8) and not output.any()
