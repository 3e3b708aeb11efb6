"""Fused attention with weights f(score) in Triton: forward and backward in memory linear in the length.

The backward pass needs only q, k and v: it recomputes the scores tile by tile and redraws dropout from its seed. Both
passes are custom operators, which work with torch.compile and CUDA graphs.

Triton autotunes each kernel at its first call for a head width, length and dtype on a card and caches the choice on
disk; its interpreter uses the first form. Skipping tiles without a positive score is one of the choices: Triton
prefetches nothing beyond the branch that skips, so it pays only where whole tiles are empty. Both forms are therefore
measured, on the data of the first call.

Shapes: B batch, H heads, Q rows, K slots, D head width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from reluformer.memory.backends import TRITON_WIDEST, AttentionOptions, FusedRead, prepare, triton_kernels

BUCKETS = (32, 128, 512, 2048)
"""Upper bounds of the length buckets, each tuned once; longer lengths are one more bucket."""
KINDS = ("FUNCTION", "SHIFT", "KEYS", "CAUSAL", "DROPOUT", "STATISTICS", "PRECISION", "W", "length")
"""The autotuner's key, in addition to the tensors' dtypes."""


def bucket(rows: int, slots: int) -> int:
    """Returns the bucket of a read; 0 is the shortest."""
    return sum(max(rows, slots) > bound for bound in BUCKETS)


class Form(NamedTuple):
    """A kernel's configuration: rows and slots of a tile, whether it skips empty tiles, warps and pipeline stages."""

    rows: int
    slots: int
    skip: bool
    warps: int
    stages: int

    def config(self) -> triton.Config:
        constants = {"BM": self.rows, "BN": self.slots, "SKIP": self.skip}
        return triton.Config(constants, num_warps=self.warps, num_stages=self.stages)


def forms(width: int, length: int, bytes_each: int, turned: bool = False) -> list[Form]:
    """Returns the forms to try; the interpreter uses the first.

    width: of a head, a power of two; length: the bucket; bytes_each: size of a query element; turned: for the kernel
    whose programs hold slots and iterate over rows, where the long side of a tile is its slots.
    """
    if length == 0:
        choices = [(16, 32, 2, 2), (32, 32, 4, 2)]
    elif bytes_each == 4:
        choices = [(64, 32, 8, 2), (32, 32, 4, 2)]
    elif length == 1:
        choices = [(32, 64, 4, 2), (64, 64, 4, 2), (64, 32, 4, 3)]
    elif width <= 64:
        choices = [(128, 64, 8, 3), (64, 64, 4, 3), (128, 128, 8, 2)]
    else:
        choices = [(128, 64, 8, 2), (64, 64, 4, 2), (128, 32, 8, 3)]
    skips = (True, False) if length > 1 else (False,)
    return [Form(*((n, m) if turned else (m, n)), skip, w, s) for m, n, w, s in choices for skip in skips]


def tuned(kernel: Any, turned: bool = False) -> Any:
    """Returns the autotuned kernel; in Triton's interpreter, the kernel in its first form."""

    def fitting(named: dict[str, Any]) -> list[triton.Config]:
        return [form.config() for form in forms(named["W"], named["length"], named["query"].element_size(), turned)]

    def prune(configs: list[triton.Config], arguments: dict[str, Any], **constants: Any) -> list[triton.Config]:
        wanted = fitting({**arguments, **constants})
        return [config for config in configs if config in wanted]

    if triton.knobs.runtime.interpret:
        constants = ("BM", "BN", "SKIP")
        return triton.heuristics({c: lambda named, c=c: fitting(named)[0].kwargs[c] for c in constants})(kernel)
    lengths = range(len(BUCKETS) + 1)
    every = {form for w in (16, 128) for n in lengths for b in (2, 4) for form in forms(w, n, b, turned)}
    configs = [form.config() for form in sorted(every)]
    prunes = {"early_config_prune": prune}
    return triton.autotune(configs, key=list(KINDS), prune_configs_by=prunes, cache_results=True)(kernel)


_forward = tuned(triton_kernels.forward_kernel)
_backward_query = tuned(triton_kernels.query_kernel)
_backward_slots = tuned(triton_kernels.slot_kernel, turned=True)


def triton_relu_attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    """Implements `FusedKernel` (Eq. 6, and the sums of Eq. 7).

    query, key, value: fp32, bf16 or fp16, any strides, D up to 128. Dropout uses Philox. fp32 is multiplied in
    fp32, or in TF32 if torch.backends.cuda.matmul.allow_tf32 is set; sums are in fp32.

    Raises `ValueError` if shapes, dtypes or devices do not fit together.
    """
    query, options = prepare(query, options)
    keys, causal, scale, dropout, seed, statistics, _, shift, function = options
    assert seed is not None
    _check(query, key, value, keys, dropout)
    if shift is not None:
        shift = shift.float().expand(*query.shape[:3], 1)[:, 0, :, 0].contiguous()
    elif function == "sigmoid":  # a hidden slot's weight is set to 0 where a shift is added
        shift = query.new_zeros(query.size(0), query.size(2), dtype=torch.float32)
    output, total, logs = _attend(query, key, value, keys, shift, causal, scale, dropout, seed, statistics, function)
    return FusedRead(output, total, logs) if statistics else FusedRead(output)


def _check(query: Tensor, key: Tensor, value: Tensor, keys: Tensor | None, dropout: float) -> None:
    batch, heads, _, width = query.shape
    slots = key.size(-2)
    if key.shape != (batch, heads, slots, width) or value.shape != key.shape or width > TRITON_WIDEST:
        shapes = ", ".join(str(tuple(t.shape)) for t in (query, key, value))
        raise ValueError(f"no ReLU attention of query, key, value {shapes}")
    if query.dtype not in (torch.float32, torch.bfloat16, torch.float16) or {key.dtype, value.dtype} != {query.dtype}:
        raise ValueError(f"no ReLU attention of {query.dtype}, {key.dtype}, {value.dtype}")
    if keys is not None and (keys.shape != (batch, slots) or keys.dtype != torch.bool):
        raise ValueError(f"keys is {keys.dtype} {tuple(keys.shape)}, not bool {(batch, slots)}")
    if {t.device for t in (key, value, *([] if keys is None else [keys]))} != {query.device}:
        raise ValueError("query, key, value and keys are not on one device")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout {dropout} is not a probability below 1")


def _constants(
    query: Tensor, keys: Tensor | None, shift: Tensor | None, causal: bool, dropout: float, statistics: bool, name: str
) -> dict[str, Any]:
    """Returns a kernel's compile-time constants."""
    exact = query.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    return {
        "FUNCTION": name,
        "SHIFT": shift is not None,
        "KEYS": keys is not None,
        "CAUSAL": causal,
        "DROPOUT": dropout > 0,
        "STATISTICS": statistics,
        "PRECISION": "ieee" if exact else "tf32",
        "D": query.size(-1),
        "W": max(16, triton.next_power_of_2(query.size(-1))),
    }


def _sizes(query: Tensor, key: Tensor, scale: float, dropout: float, seed: int) -> tuple[int | float, ...]:
    rows, slots = query.size(2), key.size(2)
    return query.size(1), rows, slots, bucket(rows, slots), scale, dropout, seed


def _keys(query: Tensor, keys: Tensor | None) -> tuple[Tensor, tuple[int, int]]:
    """Returns the mask as bytes and its strides; without one, a placeholder that no kernel reads."""
    return (query, (0, 0)) if keys is None else (keys.view(torch.uint8), keys.stride())  # type: ignore[return-value]


@torch.library.custom_op("reluformer::relu_attention", mutates_args=())
def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor | None,
    shift: Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
    seed: int,
    statistics: bool,
    function: str,
) -> tuple[Tensor, Tensor, Tensor]:
    output, total, logs = _like(query, key, value, keys, shift, causal, scale, dropout, seed, statistics, function)
    batch, heads, rows, _ = query.shape
    if query.numel() == 0 or key.numel() == 0:
        return output.zero_(), total.zero_(), logs.zero_()
    shown, shown_strides = _keys(query, keys)
    with torch.cuda.device_of(query):
        _forward[lambda meta: (batch * heads * triton.cdiv(rows, meta["BM"]),)](
            *(query, key, value, shown, query if shift is None else shift, output, total, logs),
            *(*query.stride(), *key.stride(), *value.stride(), *shown_strides, *output.stride()),
            *_sizes(query, key, scale, dropout, seed),
            **_constants(query, keys, shift, causal, dropout, statistics, function),
        )
    return output, total, logs


@_attend.register_fake
def _like(query: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Allocates the results; the output has the query's strides."""
    *_, statistics, _ = others
    rows = query.shape[:3] if statistics else (0,)
    total = query.new_empty(rows, dtype=torch.float32)
    return torch.empty_like(query), total, torch.empty_like(total)


@torch.library.custom_op("reluformer::relu_attention_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    grad_total: Tensor,
    grad_logs: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor | None,
    shift: Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
    seed: int,
    statistics: bool,
    function: str,
) -> tuple[Tensor, Tensor, Tensor]:
    grads = tuple(torch.empty_like(t) for t in (query, key, value))
    query_grad, key_grad, value_grad = grads
    if query.numel() == 0 or key.numel() == 0:
        return query_grad.zero_(), key_grad.zero_(), value_grad.zero_()
    batch, heads, rows, _ = query.shape
    slots = key.size(2)
    shown, shown_strides = _keys(query, keys)
    added = query if shift is None else shift
    inputs = (query, key, value, shown, added, grad, grad_total.contiguous(), grad_logs.contiguous())
    strides = (*query.stride(), *key.stride(), *value.stride(), *shown_strides, *grad.stride())
    sizes = _sizes(query, key, scale, dropout, seed)
    constants = _constants(query, keys, shift, causal, dropout, statistics, function)
    with torch.cuda.device_of(query):
        _backward_query[lambda meta: (batch * heads * triton.cdiv(rows, meta["BM"]),)](
            *inputs, query_grad, *strides, *query_grad.stride(), *sizes, **constants
        )
        _backward_slots[lambda meta: (batch * heads * triton.cdiv(slots, meta["BN"]),)](
            *inputs, key_grad, value_grad, *strides, *key_grad.stride(), *value_grad.stride(), *sizes, **constants
        )
    return query_grad, key_grad, value_grad


@_attend_backward.register_fake
def _like_backward(
    grad: Tensor, grad_total: Tensor, grad_logs: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t) for t in (query, key, value))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.causal, ctx.scale, ctx.dropout, ctx.seed, ctx.statistics, ctx.function = inputs
    ctx.present = [tensor is not None for tensor in tensors]
    ctx.save_for_backward(*(tensor for tensor in tensors if tensor is not None))


def _differentiate(ctx: Any, grad: Tensor, grad_total: Tensor, grad_logs: Tensor) -> tuple[Tensor | None, ...]:
    saved = iter(ctx.saved_tensors)
    tensors = [next(saved) if present else None for present in ctx.present]
    options = ctx.causal, ctx.scale, ctx.dropout, ctx.seed, ctx.statistics, ctx.function
    grads = _attend_backward(grad, grad_total, grad_logs, *tensors, *options)
    return (*grads, *(None for _ in range(8)))


_attend.register_autograd(_differentiate, setup_context=_save)
