"""The three Triton kernels of a fused read: forward over rows, backward over rows and over slots.

The weights f(score) need no row maximum and no row sum: a tile of scores is used as soon as it is computed, and
skipping a tile without a positive weight is exact. A hidden slot's key reads as zero, and its weight is set to 0 where
f(0 + shift) is not. Scores are recomputed in each pass.

Shapes: B batch, H heads, Q rows, K slots, D head width; W, D padded to a power of two. A program's index encodes batch
entry and head, `group` = b·H + h, and its tile of BM rows or BN slots. Strides come in the order of the dimensions.
"""

import triton
import triton.language as tl

PHILOX_ROUNDS = tl.constexpr(7)  # the fewest that pass BigCrush (Salmon et al. 2011)
TINY = tl.constexpr(1.1754944e-38)  # the log of a positive weight stays finite
VARYING = ("heads", "rows", "slots", "length", "seed")
"""Arguments whose values do not specialise the compiled kernel."""


@triton.jit
def load_tile(base, index, stride, width_stride, shown, ALL: tl.constexpr, D: tl.constexpr, W: tl.constexpr):
    """Loads rows `index` of a [·, D] matrix as a tile [·, W]: zero beyond D and, unless ALL, where not `shown`."""
    width = tl.arange(0, W)
    pointers = base + index[:, None].to(tl.int64) * stride + width[None, :] * width_stride
    if ALL:
        if D == W:
            return tl.load(pointers)
        return tl.load(pointers, mask=(width < D)[None, :], other=0.0)
    return tl.load(pointers, mask=shown[:, None] & (width < D)[None, :], other=0.0)


@triton.jit
def store_tile(base, index, stride, width_stride, shown, tile, D: tl.constexpr, W: tl.constexpr):
    """Stores a tile [·, W] to rows `index` of a [·, D] matrix, where `shown`."""
    width = tl.arange(0, W)
    pointers = base + index[:, None].to(tl.int64) * stride + width[None, :] * width_stride
    tl.store(pointers, tile.to(base.dtype.element_ty), mask=shown[:, None] & (width < D)[None, :])


@triton.jit
def weigh(
    one, other, rows, slots, scale, added, shown, offset,
    FUNCTION: tl.constexpr, SHIFT: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Returns s = f(scale · one·otherᵀ + added) in fp32, NaN included; if DIAGONAL, 0 where slot > row + offset.

    rows and slots: indices, [BM, 1] and [1, BN] if `one` holds queries, [1, BM] and [BN, 1] if it holds keys.
    added (of rows) and shown (of slots): of the same shapes; used if SHIFT.
    """
    s = tl.dot(one, tl.trans(other), input_precision=PRECISION) * scale
    if SHIFT:
        s += added
    if FUNCTION == "sigmoid":
        s = tl.sigmoid(s)
    else:
        s = tl.maximum(s, 0.0, propagate_nan=tl.PropagateNan.ALL)
        if FUNCTION == "relu-squared":
            s *= s
    if SHIFT:
        s = tl.where(shown, s, 0.0)
    if DIAGONAL:
        s = tl.where(slots <= rows + offset, s, 0.0)
    return s


@triton.jit
def descend(s, slope, FUNCTION: tl.constexpr):
    """Returns the gradient of the scores, given that of their weights s."""
    if FUNCTION == "sigmoid":
        return slope * s * (1 - s)
    if FUNCTION == "relu-squared":
        return slope * 2 * tl.sqrt(s)
    return tl.where(s > 0, slope, 0.0)


@triton.jit
def keeps(seed, group, rows, slots, dropout):
    """Returns whether dropout keeps each weight; depends on seed and position alone, so all passes agree."""
    drawn, _, _, _ = tl.philox(seed, slots, rows, group, 0, PHILOX_ROUNDS)
    return tl.uint_to_uniform_float(drawn) >= dropout


@triton.jit
def row_slope(s, grad_total, grad_logs):
    """Returns ∂/∂s of grad_total · Σs + grad_logs · Σ s log s."""
    return grad_total + grad_logs * (1.0 + tl.log(tl.maximum(s, TINY)))


@triton.jit
def visible_bounds(keys, stride, slots, KEYS: tl.constexpr):
    """Returns (the first hidden slot, one more than the last visible slot) of one batch entry."""
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
def tile_bounds(first, rows, slots, solid, end, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """Returns, for BM rows from `first`, (slots that need no mask, a multiple of BN; slots that any row sees)."""
    free = solid
    if CAUSAL:
        free = tl.minimum(free, first + slots - rows + 1)
        end = tl.minimum(end, tl.minimum(first + BM, rows) + slots - rows)
    return tl.maximum(free, 0) // BN * BN, tl.maximum(end, 0)


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    query, key, value, keys, shift, output, total, logs,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    output_b, output_h, output_q, output_d,
    heads, rows, slots, length, scale, dropout, seed,
    FUNCTION: tl.constexpr, SHIFT: tl.constexpr,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr, D: tl.constexpr, W: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """output_i = Σ_j drop(s_ij) v_j; total_i = Σ_j s_ij; logs_i = Σ_j s_ij log s_ij."""
    tiles = tl.cdiv(rows, BM)
    group = tl.program_id(0) // tiles
    b, h = (group // heads).to(tl.int64), (group % heads).to(tl.int64)
    first = (tiles - 1 - tl.program_id(0) % tiles) * BM  # the rows that see most slots start first
    i = first + tl.arange(0, BM)
    q = load_tile(query + b * query_b + h * query_h, i, query_q, query_d, i < rows, False, D, W)
    key += b * key_b + h * key_h
    value += b * value_b + h * value_h
    keys += b * keys_b
    solid, end = visible_bounds(keys, keys_k, slots, KEYS)
    free, end = tile_bounds(first, rows, slots, solid, end, CAUSAL, BM, BN)
    added = tl.load(shift + b * rows + i, mask=i < rows, other=0.0)[:, None] if SHIFT else 0.0

    accumulated = tl.zeros((BM, W), tl.float32)
    sums = tl.zeros((BM,), tl.float32)
    log_sums = tl.zeros((BM,), tl.float32)
    for MASKED in tl.static_range(2):
        for start in range(free if MASKED else 0, end if MASKED else free, BN):
            j = start + tl.arange(0, BN)
            shown = j < slots
            if KEYS and MASKED:
                shown = tl.load(keys + j * keys_k, mask=shown, other=0) != 0
            k = load_tile(key, j, key_k, key_d, shown, not MASKED, D, W)
            s = weigh(
                q, k, i[:, None], j[None, :], scale, added, shown[None, :], slots - rows,
                FUNCTION, SHIFT, CAUSAL and MASKED, PRECISION,
            )  # fmt: skip
            row = tl.sum(s, 1)
            used = tl.sum(row, 0) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                if STATISTICS:
                    sums += row
                    log_sums += tl.sum(s * tl.log(tl.maximum(s, TINY)), 1)
                if DROPOUT:
                    s = tl.where(keeps(seed, group, i[:, None], j[None, :], dropout), s, 0.0)
                v = load_tile(value, j, value_k, value_d, shown, not MASKED, D, W)
                accumulated = tl.dot(s.to(v.dtype), v, accumulated, input_precision=PRECISION)
    if DROPOUT:
        accumulated = accumulated / (1 - dropout)
    store_tile(output + b * output_b + h * output_h, i, output_q, output_d, i < rows, accumulated, D, W)
    if STATISTICS:
        place = group.to(tl.int64) * rows + i
        tl.store(total + place, sums, mask=i < rows)
        tl.store(logs + place, log_sums, mask=i < rows)


@triton.jit(do_not_specialize=VARYING)
def query_kernel(
    query, key, value, keys, shift, grad, grad_total, grad_logs, query_grad,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    grad_b, grad_h, grad_q, grad_d,
    query_grad_b, query_grad_h, query_grad_q, query_grad_d,
    heads, rows, slots, length, scale, dropout, seed,
    FUNCTION: tl.constexpr, SHIFT: tl.constexpr,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr, D: tl.constexpr, W: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """query_grad_i = scale · Σ_j slope_ij k_j, slope = ∂loss/∂s where s > 0; grad: the output's, [B, H, Q, D]."""
    tiles = tl.cdiv(rows, BM)
    group = tl.program_id(0) // tiles
    b, h = (group // heads).to(tl.int64), (group % heads).to(tl.int64)
    first = (tiles - 1 - tl.program_id(0) % tiles) * BM
    i = first + tl.arange(0, BM)
    q = load_tile(query + b * query_b + h * query_h, i, query_q, query_d, i < rows, False, D, W)
    g = load_tile(grad + b * grad_b + h * grad_h, i, grad_q, grad_d, i < rows, False, D, W)
    place = group.to(tl.int64) * rows + i
    key += b * key_b + h * key_h
    value += b * value_b + h * value_h
    keys += b * keys_b
    solid, end = visible_bounds(keys, keys_k, slots, KEYS)
    free, end = tile_bounds(first, rows, slots, solid, end, CAUSAL, BM, BN)
    added = tl.load(shift + b * rows + i, mask=i < rows, other=0.0)[:, None] if SHIFT else 0.0

    accumulated = tl.zeros((BM, W), tl.float32)
    for MASKED in tl.static_range(2):
        for start in range(free if MASKED else 0, end if MASKED else free, BN):
            j = start + tl.arange(0, BN)
            shown = j < slots
            if KEYS and MASKED:
                shown = tl.load(keys + j * keys_k, mask=shown, other=0) != 0
            k = load_tile(key, j, key_k, key_d, shown, not MASKED, D, W)
            s = weigh(
                q, k, i[:, None], j[None, :], scale, added, shown[None, :], slots - rows,
                FUNCTION, SHIFT, CAUSAL and MASKED, PRECISION,
            )  # fmt: skip
            used = tl.sum(s) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                v = load_tile(value, j, value_k, value_d, shown, not MASKED, D, W)
                slope = tl.dot(g, tl.trans(v), input_precision=PRECISION)
                if DROPOUT:
                    slope = tl.where(keeps(seed, group, i[:, None], j[None, :], dropout), slope / (1 - dropout), 0.0)
                if STATISTICS:
                    of_sum = tl.load(grad_total + place, mask=i < rows, other=0.0)
                    of_log = tl.load(grad_logs + place, mask=i < rows, other=0.0)
                    slope += row_slope(s, of_sum[:, None], of_log[:, None])
                slope = descend(s, slope, FUNCTION)
                accumulated = tl.dot(slope.to(k.dtype), k, accumulated, input_precision=PRECISION)
    store_tile(
        query_grad + b * query_grad_b + h * query_grad_h,
        i, query_grad_q, query_grad_d, i < rows, accumulated * scale, D, W,
    )  # fmt: skip


@triton.jit(do_not_specialize=VARYING)
def slot_kernel(
    query, key, value, keys, shift, grad, grad_total, grad_logs, key_grad, value_grad,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    grad_b, grad_h, grad_q, grad_d,
    key_grad_b, key_grad_h, key_grad_k, key_grad_d,
    value_grad_b, value_grad_h, value_grad_k, value_grad_d,
    heads, rows, slots, length, scale, dropout, seed,
    FUNCTION: tl.constexpr, SHIFT: tl.constexpr,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr, D: tl.constexpr, W: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """key_grad_j = scale · Σ_i slope_ij q_i and value_grad_j = Σ_i drop(s_ij) grad_i; zero at hidden slots."""
    tiles = tl.cdiv(slots, BN)
    group = tl.program_id(0) // tiles
    b, h = (group // heads).to(tl.int64), (group % heads).to(tl.int64)
    first = tl.program_id(0) % tiles * BN
    j = first + tl.arange(0, BN)
    shown = j < slots
    begin, free, stop = 0, 0, rows  # rows before `begin` see no slot; from `free` on, causality hides none
    if KEYS:
        shown = tl.load(keys + b * keys_b + j * keys_k, mask=shown, other=0) != 0
        stop = tl.where(tl.sum(shown.to(tl.int32), 0) > 0, rows, 0)
    if CAUSAL:
        begin = tl.minimum(tl.maximum(first - slots + rows, 0) // BM * BM, stop)
        free = tl.minimum(tl.cdiv(tl.maximum(first + BN - 1 - slots + rows, 0), BM) * BM, stop)
        free = tl.maximum(free, begin)
    k = load_tile(key + b * key_b + h * key_h, j, key_k, key_d, shown, False, D, W)
    v = load_tile(value + b * value_b + h * value_h, j, value_k, value_d, shown, False, D, W)
    query += b * query_b + h * query_h
    grad += b * grad_b + h * grad_h
    grad_total += group.to(tl.int64) * rows
    grad_logs += group.to(tl.int64) * rows

    for_key = tl.zeros((BN, W), tl.float32)
    for_value = tl.zeros((BN, W), tl.float32)
    for FREE in tl.static_range(0 if CAUSAL else 1, 2):
        for start in range(free if FREE else begin, stop if FREE else free, BM):
            i = start + tl.arange(0, BM)
            q = load_tile(query, i, query_q, query_d, i < rows, False, D, W)
            added = tl.load(shift + b * rows + i, mask=i < rows, other=0.0)[None, :] if SHIFT else 0.0
            s = weigh(
                k, q, i[None, :], j[:, None], scale, added, shown[:, None], slots - rows,
                FUNCTION, SHIFT, not FREE, PRECISION,
            )  # fmt: skip
            used = tl.sum(s) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                g = load_tile(grad, i, grad_q, grad_d, i < rows, False, D, W)
                slope = tl.dot(v, tl.trans(g), input_precision=PRECISION)
                dropped = s
                if DROPOUT:
                    keep = keeps(seed, group, i[None, :], j[:, None], dropout)
                    slope = tl.where(keep, slope / (1 - dropout), 0.0)
                    dropped = tl.where(keep, s, 0.0)
                if STATISTICS:
                    of_sum = tl.load(grad_total + i, mask=i < rows, other=0.0)
                    of_log = tl.load(grad_logs + i, mask=i < rows, other=0.0)
                    slope += row_slope(s, of_sum[None, :], of_log[None, :])
                slope = descend(s, slope, FUNCTION)
                for_value = tl.dot(dropped.to(g.dtype), g, for_value, input_precision=PRECISION)
                for_key = tl.dot(slope.to(q.dtype), q, for_key, input_precision=PRECISION)
    if DROPOUT:
        for_value = for_value / (1 - dropout)
    store_tile(
        key_grad + b * key_grad_b + h * key_grad_h,
        j, key_grad_k, key_grad_d, j < slots, for_key * scale, D, W,
    )  # fmt: skip
    store_tile(
        value_grad + b * value_grad_b + h * value_grad_h,
        j, value_grad_k, value_grad_d, j < slots, for_value, D, W,
    )  # fmt: skip
