from __future__ import annotations

import os

import pytest
import torch
from benchmarks import attention
from benchmarks.attention import Problem, forced, memory, rows


@pytest.mark.slow
def test_every_length_has_its_rows(monkeypatch):
    monkeypatch.setattr(attention, "memory", lambda name, backend: {"reference": 900.0}.get(backend, 30.0))
    calls = []
    monkeypatch.setattr(attention, "keep_freed_memory", lambda: calls.append(True))  # must not run in the test process
    threads = torch.get_num_threads()
    measured = rows(lengths=[8, 16], heads=1, width=16, tokens=32, rounds=1)
    assert torch.get_num_threads() == threads and calls
    targets = [(row.name, row.target) for row in measured if row.target is not None]
    assert sum("forward + backward" in name and target == 1.0 for name, target in targets) == 2 * 3
    assert sum("with the penalty" in name and target == 0.8 for name, target in targets) == 2 * 3
    assert {row.name for row in measured} >= {"sparsemax, 8 tokens", "entmax15, 16 tokens", "sigmoid, 16 tokens"}
    assert all(row.why for row in measured if row.target)
    (space,) = [row for row in measured if row.target == 10.0]
    assert space.ratio == 30.0 and space.met


def test_a_ragged_batch_is_half_to_fully_visible_and_a_causal_one_triangular():
    ragged = Problem(tokens=64, length=16, heads=2, width=8, mask="ragged")
    lengths = ragged.mask.keys.sum(1)
    assert len(lengths) == 4 and 8 <= lengths.min() < lengths.max() <= 16
    assert Problem(64, 16, 2, 8, "causal").mask.causal
    assert ragged.products == 2 * 4 * 2 * 16 * 16 * 8


@pytest.mark.parametrize("before", [None, "tiled"])
def test_a_backend_is_forced_temporarily(before, monkeypatch):
    monkeypatch.delenv("RELUFORMER_KERNEL", raising=False)
    if before:
        monkeypatch.setenv("RELUFORMER_KERNEL", before)
    with forced("reference"):
        assert os.environ["RELUFORMER_KERNEL"] == "reference"
    assert os.environ.get("RELUFORMER_KERNEL") == before


@pytest.mark.slow
def test_memory_is_that_of_the_read():
    """The weights of 1,024 tokens take 4 MiB; the read that stores them needs several such tensors, a tile 0.5 MiB."""
    assert memory("relu-scaled", "tiled", 1024) + 4 < memory("relu-scaled", "reference", 1024) < 100


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_computes_relu():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 16, 8) for _ in range(3))
    query[0, 0, 0] = 0  # a row without positive scores
    expected = torch.relu(query @ key.transpose(-1, -2) * 8**-0.5) @ value
    with torch.no_grad():
        assert torch.allclose(attention.flex_relu(query, key, value, 8**-0.5), expected, atol=1e-5)
