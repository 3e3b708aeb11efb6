"""The tiles that a Triton kernel visits, checked against loops over rows and slots; also in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

triton = pytest.importorskip("triton", reason="needs triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = pytest.mark.gpu

import triton.language as tl  # noqa: E402

from reluformer.memory.backends.triton_kernels import keeps, tile_bounds, visible_bounds  # noqa: E402


@triton.jit
def _bounds_kernel(keys, out, slots, KEYS: tl.constexpr):
    solid, end = visible_bounds(keys, 1, slots, KEYS)
    tl.store(out, solid)
    tl.store(out + 1, end)


@triton.jit
def _reach_kernel(out, first, rows, slots, solid, end, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    free, stop = tile_bounds(first, rows, slots, solid, end, CAUSAL, BM, BN)
    tl.store(out, free)
    tl.store(out + 1, stop)


@triton.jit
def _kept_kernel(out, seed, group, first, BM: tl.constexpr, BN: tl.constexpr):
    i, j = first + tl.arange(0, BM), tl.arange(0, BN)
    tile = keeps(seed, group, i[:, None], j[None, :], 0.25)
    tl.store(out + tl.arange(0, BM)[:, None] * BN + j[None, :], tile)


@pytest.mark.parametrize("visible", ["1111", "1100", "0011", "1011", "0000", "1" * 1500 + "0" * 700, "0" * 2100 + "1"])
def test_bounds(visible):
    keys = torch.tensor([c == "1" for c in visible], device=DEVICE)
    out = torch.zeros(2, dtype=torch.int32, device=DEVICE)
    _bounds_kernel[(1,)](keys.view(torch.uint8), out, len(visible), True)
    assert out.tolist() == [(visible + "0").index("0"), visible.rindex("1") + 1 if "1" in visible else 0]


@pytest.mark.parametrize(("rows", "slots"), [(1, 1), (40, 40), (16, 70), (70, 16), (33, 0)])
@pytest.mark.parametrize("causal", [False, True])
def test_reach(rows, slots, causal):
    out = torch.zeros(2, dtype=torch.int32, device=DEVICE)
    for solid, end in {(slots, slots), (slots // 2, slots), (0, slots // 2), (0, 0)}:
        for first in range(0, rows, 16):
            _reach_kernel[(1,)](out, first, rows, slots, solid, end, causal, 16, 16)
            free, stop = out.tolist()
            tile = range(first, min(first + 16, rows))
            visible = [{j for j in range(end) if not causal or j <= i + slots - rows} for i in tile]
            assert stop == max((max(row) + 1 for row in visible if row), default=0)
            assert free % 16 == 0 and free <= max(stop, 0)
            assert all(set(range(free)) <= row for row in visible) and free <= solid
            if not causal:
                assert free == solid // 16 * 16


def test_dropout_depends_on_seed_and_place_alone():
    def draw(seed, group, first):
        out = torch.zeros(64, 64, dtype=torch.bool, device=DEVICE)
        _kept_kernel[(1,)](out.view(torch.uint8), seed, group, first, 64, 64)
        return out

    drawn = draw(5, 0, 0)
    assert drawn.double().mean().item() == pytest.approx(0.75, abs=4 * (0.25 * 0.75 / 4096) ** 0.5)
    assert torch.equal(drawn[16:], draw(5, 0, 16)[:-16])
    for other in (draw(6, 0, 0), draw(5, 1, 0), draw(5 + 2**40, 0, 0)):
        agree = (drawn == other).double().mean().item()
        assert agree == pytest.approx(0.75**2 + 0.25**2, abs=0.04)
