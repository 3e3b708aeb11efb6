from __future__ import annotations

import shutil

import pytest
import torch

from reluformer.ops.cross_entropy import cross_entropy, has_kernel

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def in_place(logits, target, weight):
    """Returns the losses and replaces the logits by their gradients."""
    losses, gradients = cross_entropy(logits, target[:, None], weight)
    assert gradients is logits
    return losses


def exact(logits, target, weight):
    """Returns losses and gradients by definition in float64."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    p[torch.arange(len(p)), target] -= weight
    return -log_p[torch.arange(len(p)), target], p


@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 1), (1, 5), (7, 64), (40, 1000), (3, 10_001), (0, 8)])
@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_equals_float64(rows, vocabulary, spread):
    torch.manual_seed(0)
    logits = torch.randn(rows, vocabulary) * spread
    target = torch.randint(vocabulary, (rows,))
    losses, gradients = exact(logits, target, 0.9)
    torch.testing.assert_close(in_place(logits, target, 0.9).double(), losses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logits.double(), gradients, rtol=2e-6, atol=1e-7)


def test_small_probabilities_are_as_exact_as_large_ones():
    logits = torch.linspace(-86, 0, 5000)[None]
    p = logits.double().softmax(1)
    in_place(logits, torch.tensor([0]), 0.0)
    assert ((logits - p) / p).abs().max() < 1e-6


def test_threads_do_not_matter(monkeypatch):
    logits = torch.randn(33, 3001)
    target = torch.randint(3001, (33,))
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append((gradients := logits.clone(), in_place(gradients, target, 0.9)))
    for gradients, losses in results[1:]:
        assert torch.equal(gradients, results[0][0]) and torch.equal(losses, results[0][1])


def test_without_a_gradient_the_logits_stay():
    torch.manual_seed(0)
    logits, target = torch.randn(5, 100), torch.tensor([[0], [3], [99], [7], [7]]).expand(5, 2)[:, 0]
    before = logits.clone()
    losses = in_place(logits, target, None)
    assert torch.equal(logits, before)
    assert torch.equal(losses, in_place(logits, target, 0.9)) and not torch.equal(logits, before)


def test_large_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4 - 100], [3e38, -3e38, 0.0]])
    losses = in_place(logits, torch.tensor([1, 2, 0]), 1.0)
    assert losses.tolist() == pytest.approx([2e4, 100 + 0.6931472, 0.0])
    expected = torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(logits, expected)


def test_minus_infinity_is_a_probability_of_zero():
    logits = torch.tensor([[0.0, -torch.inf, 0.0]]).repeat(2, 1)
    losses = in_place(logits, torch.tensor([0, 1]), 0.0)
    assert losses.tolist() == pytest.approx([0.6931472, torch.inf]) and logits.tolist() == [[0.5, 0.0, 0.5]] * 2


@pytest.mark.parametrize("place", [0, 17, 99])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_only_a_broken_row_is_nan(broken, place):
    logits = torch.randn(3, 100)
    logits[1, place] = broken
    losses = in_place(logits, torch.tensor([0, 17, 17]), 0.9)
    assert losses.isnan().tolist() == [False, True, False]
    assert logits[1].isnan().all() and logits[[0, 2]].isfinite().all()


def test_rows_of_minus_infinity_are_nan():
    assert in_place(torch.full((1, 20), -torch.inf), torch.tensor([3]), 0.9).isnan().all()


def test_other_tensors_are_left_to_torch():
    assert has_kernel(torch.zeros(2, 3))
    assert not has_kernel(torch.zeros(2, 3, dtype=torch.float64)) and not has_kernel(torch.zeros(2, 3).T)
    assert not has_kernel(torch.zeros(2, 3, device="meta"))
