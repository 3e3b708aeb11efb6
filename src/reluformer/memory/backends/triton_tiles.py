"""What the Triton kernels of fused ReLU attention do with one tile of scores.

ReLU needs no row maximum and no row sum: a tile of scores is used as soon as it is there, a hidden slot is one whose
key reads as zero, and a tile without a positive score is left out exactly.

Shapes: Q rows, K slots, D head width; W, D padded to a power of two. A program has BM rows or BN slots at a time.
`group` is b·H + h.
"""

import triton
import triton.language as tl

PHILOX_ROUNDS = tl.constexpr(7)  # the fewest that pass BigCrush (Salmon et al. 2011)
TINY = tl.constexpr(1.1754944e-38)  # the log of a positive weight stays finite


@triton.jit
def load_tile(base, index, stride, width_stride, shown, ALL: tl.constexpr, D: tl.constexpr, W: tl.constexpr):
    """Rows `index` of a [·, D] matrix as a tile [·, W]: zero beyond D and, unless ALL, where not `shown`."""
    width = tl.arange(0, W)
    pointers = base + index[:, None].to(tl.int64) * stride + width[None, :] * width_stride
    if ALL:
        if D == W:
            return tl.load(pointers)
        return tl.load(pointers, mask=(width < D)[None, :], other=0.0)
    return tl.load(pointers, mask=shown[:, None] & (width < D)[None, :], other=0.0)


@triton.jit
def store_tile(base, index, stride, width_stride, shown, tile, D: tl.constexpr, W: tl.constexpr):
    """A tile [·, W] to rows `index` of a [·, D] matrix, where `shown`."""
    width = tl.arange(0, W)
    pointers = base + index[:, None].to(tl.int64) * stride + width[None, :] * width_stride
    tl.store(pointers, tile.to(base.dtype.element_ty), mask=shown[:, None] & (width < D)[None, :])


@triton.jit
def weigh(one, other, rows, slots, scale, offset, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr):
    """Weights s = ReLU(scale · one·otherᵀ) in fp32, not-a-number kept; if DIAGONAL, zero where slot > row + offset.

    rows and slots: their numbers, [BM, 1] and [1, BN] where `one` holds queries, [1, BM] and [BN, 1] where keys.
    """
    s = tl.dot(one, tl.trans(other), input_precision=PRECISION) * scale
    s = tl.maximum(s, 0.0, propagate_nan=tl.PropagateNan.ALL)
    if DIAGONAL:
        s = tl.where(slots <= rows + offset, s, 0.0)
    return s


@triton.jit
def kept(seed, group, rows, slots, dropout):
    """Which weights dropout keeps: a function of the seed and the place alone, so the same in every pass."""
    drawn, _, _, _ = tl.philox(seed, slots, rows, group, 0, PHILOX_ROUNDS)
    return tl.uint_to_uniform_float(drawn) >= dropout


@triton.jit
def row_slope(s, grad_total, grad_logs):
    """∂/∂s of grad_total · Σs + grad_logs · Σ s log s."""
    return grad_total + grad_logs * (1.0 + tl.log(tl.maximum(s, TINY)))


@triton.jit
def visible_bounds(keys, stride, slots, KEYS: tl.constexpr):
    """(the first hidden slot, one more than the last visible slot) of one batch entry."""
    solid = slots
    end = slots
    if KEYS:
        end = 0
        for start in range(0, slots, 1024):
            index = start + tl.arange(0, 1024)
            shown = tl.load(keys + index * stride, mask=index < slots, other=0) != 0
            end = tl.maximum(end, tl.max(tl.where(shown, index + 1, 0), 0))
            solid = tl.minimum(solid, tl.min(tl.where(shown, slots, index), 0))
    return solid, end


@triton.jit
def reach(first, rows, slots, solid, end, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """Of BM rows from `first`: (slots that need no mask, a multiple of BN; slots that any of the rows sees)."""
    free = solid
    if CAUSAL:
        free = tl.minimum(free, first + slots - rows + 1)
        end = tl.minimum(end, tl.minimum(first + BM, rows) + slots - rows)
    return tl.maximum(free, 0) // BN * BN, tl.maximum(end, 0)
