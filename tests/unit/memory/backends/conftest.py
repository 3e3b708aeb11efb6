"""The reference for every kernel, ReLU attention in float64 with full weights, and a grid of shapes."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from reluformer.memory.backends import AttentionOptions
from reluformer.ops.dropout import dropout_mask

LENGTHS = [(1, 1), (1, 513), (513, 1), (5, 17), (25, 25), (97, 96), (64, 193), (200, 65), (513, 513)]
WIDTHS = [16, 20, 32, 64, 80, 128]
B, H = 3, 2
SEED = 77


class Case(NamedTuple):
    rows: int
    slots: int
    width: int
    mask: str
    dropout: float
    statistics: bool


MASKS = ["all", "ragged", "causal", "both"]
GRID = [  # covers all pairs of lengths, mask, dropout and statistics
    Case(*lengths, WIDTHS[(n + m) % len(WIDTHS)], mask, (0.0, 0.3)[(n + m) % 2], bool((n + m // 2) % 2))
    for (n, lengths), (m, mask) in itertools.product(enumerate(LENGTHS), enumerate(MASKS))
]


def visible_keys(case):
    """Returns keys with padding (first entry), holes (second) and nothing visible (last); None if not ragged."""
    if case.mask not in ("ragged", "both"):
        return None
    keys = torch.ones(B, case.slots, dtype=torch.bool)
    keys[0, (case.slots + 1) // 2 :] = False
    keys[1, 1::3] = False
    keys[2] = False
    return keys


def inputs(case, dtype=torch.float32):
    """Returns query, key, value and the gradients of output, Σs, Σ s log s.

    Scores are exact in fp32, so none is rounded across 0, where the gradient jumps. Heads are strided as in a joint
    projection.
    """
    torch.manual_seed(case.rows * 1000 + case.slots + case.width)

    def whole(length):
        return torch.randint(-3, 4, (B, length, 2, H, case.width)).to(dtype).permute(2, 0, 3, 1, 4)

    query, (key, value) = whole(case.rows)[0], whole(case.slots)
    grad = torch.randn(B, case.rows, H, case.width).to(dtype).transpose(1, 2)
    sums = torch.randn(2, B, H, case.rows)
    return query, key, value + 0.1, grad, sums[0], sums[1]


def exact(query, key, value, case, scale):
    """Computes (output, Σs, Σ s log s) by the equations, differentiably."""
    mask = torch.ones(case.rows, case.slots, dtype=torch.bool)
    if case.mask in ("causal", "both"):
        mask = mask.tril(case.slots - case.rows)
    keys = visible_keys(case)
    mask = mask if keys is None else mask & keys[:, None, None]
    weights = torch.where(mask, (query @ key.mT * scale).relu(), 0.0)
    shape = (B, H, case.rows, case.slots)
    used = weights * dropout_mask(SEED, shape, case.dropout).to(weights.dtype) if case.dropout else weights
    return used @ value, weights.sum(-1), -torch.special.entr(weights).sum(-1)


def error(ours, theirs):
    """Returns the largest difference relative to the largest number."""
    return ((ours.double() - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)).item()


@pytest.fixture
def compare():
    """Returns a function that compares a kernel's outputs and gradients with `exact` in float64."""

    def check(kernel, case, dtype=torch.float32, tolerance=2e-6):
        scale = 0.25
        *tensors, grad, grad_total, grad_logs = inputs(case, dtype)
        outcomes = []
        for wide in (False, True):
            leaves = [(x.double() if wide else x).detach().requires_grad_() for x in tensors]
            if wide:
                results = exact(*leaves, case, scale)[: 3 if case.statistics else 1]
            else:
                options = {"keys": visible_keys(case), "causal": case.mask in ("causal", "both"), "scale": scale}
                options |= {"dropout": case.dropout, "seed": SEED, "statistics": case.statistics}
                results = kernel(*leaves, AttentionOptions(**options))
                assert results[0].dtype == dtype and results[0].shape == leaves[0].shape
                if case.statistics:
                    assert {x.dtype for x in results[1:]} == {torch.promote_types(dtype, torch.float32)}
                else:
                    assert results[1:] == (None, None)
                    results = results[:1]
            grads = [x.to(r.dtype) for x, r in zip((grad, grad_total, grad_logs), results, strict=False)]
            torch.autograd.backward(results, grads)
            outcomes.append([*(x.detach() for x in results), *(x.grad for x in leaves)])
        errors = [error(ours, theirs) for ours, theirs in zip(*outcomes, strict=True)]
        assert max(errors) < tolerance, errors

    return check


@pytest.fixture
def make_case():
    return Case


@pytest.fixture
def make_inputs():
    return inputs


def pytest_generate_tests(metafunc):
    """Parametrises tests with an argument `case` over the grid."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", GRID, ids=lambda case: "-".join(str(part) for part in case))


ROOT = Path(__file__).parents[4]


@pytest.fixture
def interpret() -> Callable[..., Counter[str]]:
    """Returns a function that runs files of tests/gpu in Triton's interpreter and counts the passed tests of each.

    It uses a separate process, as Triton chooses between compiler and interpreter when it is imported.
    """

    def run(*names: str) -> Counter[str]:
        pytest.importorskip("triton", reason="needs triton")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *(f"tests/gpu/{name}" for name in names)],
            cwd=ROOT,
            env={**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": "", "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return Counter(re.findall(r"^tests/gpu/(\w+\.py)::.* PASSED", done.stdout, flags=re.MULTILINE))

    return run
