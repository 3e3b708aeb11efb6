"""The three Triton kernels of fused ReLU attention: forward over rows, backward over rows and over slots.

A program's index says its batch entry and head (`group`) and its tile. Scores are computed anew in each pass.
Shapes: B batch, H heads, Q rows, K slots, D head width. Strides come in the order of these dimensions.
"""

import triton
import triton.language as tl

from reluformer.memory.backends.triton_tiles import (
    TINY,
    kept,
    load_tile,
    reach,
    row_slope,
    store_tile,
    visible_bounds,
    weigh,
)

VARYING = ("heads", "rows", "slots", "length", "seed")
"""No new binary for another value of these."""


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    query, key, value, keys, output, total, logs,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    output_b, output_h, output_q, output_d,
    heads, rows, slots, length, scale, dropout, seed,
    KEYS: tl.constexpr, CAUSAL: tl.constexpr, DROPOUT: tl.constexpr, STATISTICS: tl.constexpr,
    PRECISION: tl.constexpr, D: tl.constexpr, W: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """output_i = Σ_j drop(s_ij) v_j; total_i = Σ_j s_ij; logs_i = Σ_j s_ij log s_ij."""
    tiles = tl.cdiv(rows, BM)
    group = tl.program_id(0) // tiles
    b, h = (group // heads).to(tl.int64), (group % heads).to(tl.int64)
    first = (tiles - 1 - tl.program_id(0) % tiles) * BM  # the longest rows of a causal read start first
    i = first + tl.arange(0, BM)
    q = load_tile(query + b * query_b + h * query_h, i, query_q, query_d, i < rows, False, D, W)
    key += b * key_b + h * key_h
    value += b * value_b + h * value_h
    keys += b * keys_b
    solid, end = visible_bounds(keys, keys_k, slots, KEYS)
    free, end = reach(first, rows, slots, solid, end, CAUSAL, BM, BN)

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
            s = weigh(q, k, i[:, None], j[None, :], scale, slots - rows, CAUSAL and MASKED, PRECISION)
            row = tl.sum(s, 1)
            used = tl.sum(row, 0) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                if STATISTICS:
                    sums += row
                    log_sums += tl.sum(s * tl.log(tl.maximum(s, TINY)), 1)
                if DROPOUT:
                    s = tl.where(kept(seed, group, i[:, None], j[None, :], dropout), s, 0.0)
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
    query, key, value, keys, grad, grad_total, grad_logs, query_grad,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    grad_b, grad_h, grad_q, grad_d,
    query_grad_b, query_grad_h, query_grad_q, query_grad_d,
    heads, rows, slots, length, scale, dropout, seed,
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
    free, end = reach(first, rows, slots, solid, end, CAUSAL, BM, BN)

    accumulated = tl.zeros((BM, W), tl.float32)
    for MASKED in tl.static_range(2):
        for start in range(free if MASKED else 0, end if MASKED else free, BN):
            j = start + tl.arange(0, BN)
            shown = j < slots
            if KEYS and MASKED:
                shown = tl.load(keys + j * keys_k, mask=shown, other=0) != 0
            k = load_tile(key, j, key_k, key_d, shown, not MASKED, D, W)
            s = weigh(q, k, i[:, None], j[None, :], scale, slots - rows, CAUSAL and MASKED, PRECISION)
            used = tl.sum(s) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                v = load_tile(value, j, value_k, value_d, shown, not MASKED, D, W)
                slope = tl.dot(g, tl.trans(v), input_precision=PRECISION)
                if DROPOUT:
                    slope = tl.where(kept(seed, group, i[:, None], j[None, :], dropout), slope / (1 - dropout), 0.0)
                if STATISTICS:
                    of_sum = tl.load(grad_total + place, mask=i < rows, other=0.0)
                    of_log = tl.load(grad_logs + place, mask=i < rows, other=0.0)
                    slope += row_slope(s, of_sum[:, None], of_log[:, None])
                slope = tl.where(s > 0, slope, 0.0)
                accumulated = tl.dot(slope.to(k.dtype), k, accumulated, input_precision=PRECISION)
    store_tile(
        query_grad + b * query_grad_b + h * query_grad_h,
        i, query_grad_q, query_grad_d, i < rows, accumulated * scale, D, W,
    )  # fmt: skip


@triton.jit(do_not_specialize=VARYING)
def slot_kernel(
    query, key, value, keys, grad, grad_total, grad_logs, key_grad, value_grad,
    query_b, query_h, query_q, query_d,
    key_b, key_h, key_k, key_d,
    value_b, value_h, value_k, value_d,
    keys_b, keys_k,
    grad_b, grad_h, grad_q, grad_d,
    key_grad_b, key_grad_h, key_grad_k, key_grad_d,
    value_grad_b, value_grad_h, value_grad_k, value_grad_d,
    heads, rows, slots, length, scale, dropout, seed,
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
    begin, free, stop = 0, 0, rows  # rows before `begin` see none of the slots, those from `free` on need no diagonal
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
            s = weigh(k, q, i[None, :], j[:, None], scale, slots - rows, not FREE, PRECISION)
            used = tl.sum(s) != 0 if SKIP else tl.full((), 1, tl.int1)
            if used:
                g = load_tile(grad, i, grad_q, grad_d, i < rows, False, D, W)
                slope = tl.dot(v, tl.trans(g), input_precision=PRECISION)
                dropped = s
                if DROPOUT:
                    keep = kept(seed, group, i[None, :], j[:, None], dropout)
                    slope = tl.where(keep, slope / (1 - dropout), 0.0)
                    dropped = tl.where(keep, s, 0.0)
                if STATISTICS:
                    of_sum = tl.load(grad_total + i, mask=i < rows, other=0.0)
                    of_log = tl.load(grad_logs + i, mask=i < rows, other=0.0)
                    slope += row_slope(s, of_sum[None, :], of_log[None, :])
                slope = tl.where(s > 0, slope, 0.0)
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
