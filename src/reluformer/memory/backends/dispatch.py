"""Fused ReLU attention: `out_i = Σ_j ReLU(c_i · scale · q_i·k_j) v_j` without storing a weight for every pair.

ReLU needs no maximum, no sum and no rescaling of a row: a tile of weights is final once it is computed, and a tile
without a positive score is nothing. `RELUFORMER_KERNEL` forces a backend: `cpu` (C++), `tiled` (plain torch), `triton`
(CUDA), or `reference`, the read with its weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from reluformer.config.settings import SettingsError, nearest
from reluformer.memory.backends import TRITON_WIDEST
from reluformer.memory.backends.cpu import SOURCE, cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops.build import library

BACKENDS = ("reference", "tiled", "cpu", "triton")
TRITON = all(find_spec(name) is not None for name in ("triton", "reluformer.memory.backends.triton_relu"))
NARROW = (torch.float32, torch.bfloat16, torch.float16)


def backend(query: Tensor) -> str:
    """The backend for tensors like `query`, a name of BACKENDS.

    Raises `SettingsError` where RELUFORMER_KERNEL names none, or one that is not to be had here.
    """
    forced = os.environ.get("RELUFORMER_KERNEL", "")
    if forced and forced not in BACKENDS:
        raise SettingsError(f"RELUFORMER_KERNEL: {forced!r}: unknown backend{nearest(forced, BACKENDS)}")
    if forced == "cpu" and library(SOURCE) is None:
        raise SettingsError("RELUFORMER_KERNEL: cpu: the C++ kernel could not be compiled here")
    if forced == "triton" and not TRITON:
        raise SettingsError("RELUFORMER_KERNEL: triton: the kernel or the package is not installed")
    if forced in ("reference", "tiled") or query.dtype not in NARROW:
        return forced if forced == "reference" else "tiled"
    if query.device.type == "cuda":
        return "triton" if TRITON and query.size(-1) <= TRITON_WIDEST else "tiled"
    if query.device.type == "cpu":
        return forced or ("tiled" if library(SOURCE) is None else "cpu")
    return "tiled"


def relu_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    keys: Tensor | None,
    causal: bool,
    scale: float,
    dropout: float,
    seed: int,
    statistics: bool,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Output [B, H, Q, D]; with `statistics` Σ_j s_ij and Σ_j s_ij log s_ij [B, H, Q] of the weights before dropout.

    The sums are in fp32 or more, and none without `statistics`. All three can be differentiated, once, in query, key
    and value, and in the rows' factor where it has a gradient: as ReLU(c·x) = c·ReLU(x) for c > 0, it is put into the
    query, by the C++ kernel on its way if it has none.

    query [B, H, Q, D], key and value [B, H, K, D]; keys: bool [B, K], true where visible, or none. causal: row i sees
    the slots up to K − Q + i. scale multiplies the scores, and so does factor, c_i > 0, [B|1, H|1, Q|1, 1]. dropout:
    probability, on the weights, decided by `seed`.
    """
    name = backend(query)
    if factor is not None and (name != "cpu" or factor.requires_grad):
        query, scale, factor = query * (factor * scale).to(query.dtype), 1.0, None
    own = {} if factor is None else {"factor": factor}
    return _function(name)(
        query,
        key,
        value,
        keys=keys,
        causal=causal,
        scale=scale,
        dropout=dropout,
        seed=seed,
        statistics=statistics,
        **own,
    )


def _function(name: str) -> Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]:
    if name == "triton":
        from reluformer.memory.backends.triton_relu import triton_relu_attention

        return triton_relu_attention
    return cpu_relu_attention if name == "cpu" else tiled_relu_attention
