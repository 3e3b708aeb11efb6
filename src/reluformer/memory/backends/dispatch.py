"""Chooses the kernel of a fused read, `out_i = Σ_j f(c_i · scale · q_i·k_j + b_i) v_j` without n × n weights.

f is one of FUNCTORS, which need no maximum, sum or rescaling of a row: a tile of weights is final once computed, and a
tile without a positive weight contributes nothing. A kernel is tested on a device before use (`ops.paths`), unless
`RELUFORMER_KERNEL` forces a backend: `cpu` (C++), `tiled` (plain torch), `triton` (CUDA), or `reference`, the read that
stores its weights.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from reluformer.config.settings import SettingsError, nearest
from reluformer.memory.backends import TRITON_WIDEST, AttentionOptions, FusedKernel, FusedRead
from reluformer.memory.backends.cpu import SOURCE, cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops.paths import distrust, library, trusted

BACKENDS = ("reference", "tiled", "cpu", "triton")
TRITON = find_spec("triton") is not None
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def backend(query: Tensor) -> str:
    """Returns the backend for tensors like `query`, a name of BACKENDS.

    Raises `SettingsError` if RELUFORMER_KERNEL names an unknown backend, or one that is not available here.
    """
    forced = os.environ.get("RELUFORMER_KERNEL", "")
    if forced and forced not in BACKENDS:
        raise SettingsError(f"RELUFORMER_KERNEL: {forced!r}: unknown backend{nearest(forced, BACKENDS)}")
    if forced == "cpu" and library(SOURCE) is None:
        raise SettingsError("RELUFORMER_KERNEL: cpu: the C++ kernel could not be compiled here")
    if forced == "triton" and not TRITON:
        raise SettingsError("RELUFORMER_KERNEL: triton: the package is not installed")
    if forced in ("reference", "tiled"):
        return forced
    device = query.device.type
    if query.dtype in KERNEL_DTYPES:
        if device == "cuda" and TRITON and query.size(-1) <= TRITON_WIDEST and (forced or trusted("triton", device)):
            return "triton"
        if device == "cpu" and (forced or library(SOURCE) is not None):
            return forced or "cpu"
    return "tiled" if trusted("tiled", device) else "reference"


def fused_kernel(query: Tensor) -> FusedKernel | None:
    """Returns the fused kernel for queries like `query`; None to use the read that stores its weights."""
    return {"cpu": cpu_relu_attention, "tiled": tiled_relu_attention, "triton": _triton}.get(backend(query))


def _triton(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> FusedRead:
    """Runs the Triton kernel; falls back to tiles for good once it fails to compile or launch."""
    from reluformer.memory.backends.triton_relu import triton_relu_attention

    if torch.compiler.is_compiling():
        return triton_relu_attention(query, key, value, options)
    try:
        return triton_relu_attention(query, key, value, options)
    except (torch.OutOfMemoryError, ValueError):
        raise
    except Exception as error:  # from Triton's compiler, its tuner or the driver
        if os.environ.get("RELUFORMER_KERNEL"):
            raise
        distrust("triton", "cuda", error)
        return tiled_relu_attention(query, key, value, options)
