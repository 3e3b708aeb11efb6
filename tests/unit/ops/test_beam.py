from __future__ import annotations

import shutil

import pytest
import torch

from reluformer.ops import beam
from reluformer.ops.beam import SharedKVCache

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "tokens", "width"), [(1, 1, 1), (5, 24, 128), (4, 7, 33), (3, 100, 8)])
def test_a_row_reads_its_path_as_in_torch(rows, tokens, width, threads, monkeypatch):
    torch.manual_seed(0)
    batch, heads = 3, 2
    query = torch.randn(batch, rows, 3, heads, width)[:, :, 1].transpose(1, 2)
    keys, values = torch.randn(2, batch + 1, heads, rows * tokens + 5, width)[:, :batch]
    path = torch.randint(rows * tokens, (batch, rows, tokens))
    weights = torch.randn(batch, heads, rows, tokens).relu()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    cached = SharedKVCache(keys, path), SharedKVCache(values, path)
    ours = cached[0].scores(query), cached[1].mix(weights)
    monkeypatch.setattr(beam, "library", lambda source: None)
    for actual, expected in zip(ours, (cached[0].scores(query), cached[1].mix(weights)), strict=True):
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [True, False])
def test_each_row_reads_its_own_path(kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr(beam, "library", lambda source: None)
    torch.manual_seed(0)
    batch, heads, rows, slots, tokens, width = 2, 3, 4, 11, 5, 8
    keys, values = torch.randn(2, batch, heads, slots, width)
    path = torch.randint(slots, (batch, rows, tokens))
    query = torch.randn(batch, rows, heads, width).transpose(1, 2)
    scores = SharedKVCache(keys, path).scores(query)
    mixed = SharedKVCache(values, path).mix(scores)
    assert scores.shape == (batch, heads, rows, tokens) and mixed.shape == query.shape
    for b in range(batch):
        for h in range(heads):
            for w in range(rows):
                expected = keys[b, h, path[b, w]] @ query[b, h, w]
                torch.testing.assert_close(scores[b, h, w], expected)
                torch.testing.assert_close(mixed[b, h, w], expected @ values[b, h, path[b, w]])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "vocabulary", "k"), [(1, 5, 2), (7, 64, 10), (40, 1000, 10), (3, 10_001, 33)])
def test_the_best_of_a_row_are_those_of_log_softmax(rows, vocabulary, k, threads, monkeypatch):
    torch.manual_seed(1)
    logits = torch.randn(rows, vocabulary) * 9
    logits[0] -= 1e4
    expected = logits.double().log_softmax(-1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    end, value, token = beam.best_tokens(logits.clone(), k, 2, [0, 1])
    torch.testing.assert_close(end.double(), expected[:, 2], rtol=1e-6, atol=2e-3)
    expected[:, :2] = -torch.inf
    best = expected.topk(k, 1)
    finite = best.values.isfinite()
    torch.testing.assert_close(value.double()[1:], best.values[1:], rtol=2e-6, atol=2e-6)
    assert torch.equal(token[finite], best.indices[finite])


def test_ties_are_ordered_by_token_and_missing_entries_are_minus_infinity():
    logits = torch.zeros(1, 200)
    logits[0, [150, 70, 3]] = 1.0
    assert beam.best_tokens(logits.clone(), 5, 2, [0, 1])[2].tolist() == [[3, 70, 150, 2, 4]]
    _, value, token = beam.best_tokens(torch.zeros(1, 5), 4, 2, [0, 1, 2])
    assert value.isfinite().tolist() == [[True, True, False, False]] and token.tolist()[0][:2] == [3, 4]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_row_has_no_finite_log_p(broken):
    logits = torch.randn(2, 100)
    logits[1, 17] = broken
    value = beam.best_tokens(logits, 3, 2, [0, 1])[1]
    assert value[0].isfinite().all() and not value[1].isfinite().any()


def test_tensors_that_need_gradients_or_are_not_fp32_are_left_to_torch():
    assert beam.has_kernel(torch.zeros(2, 2))
    assert not beam.has_kernel(torch.zeros(2, 2, dtype=torch.float64)) and not beam.has_kernel(torch.zeros(2, 3).T)
    leaf = torch.zeros(2, 2, requires_grad=True)
    assert not beam.has_kernel(leaf)
    with torch.no_grad():
        assert beam.has_kernel(leaf)
