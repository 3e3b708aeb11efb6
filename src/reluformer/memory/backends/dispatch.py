"""Chooses the kernel of fused ReLU attention, `out_i = Σ_j ReLU(c_i · scale · q_i·k_j) v_j` without n × n weights.

ReLU needs no maximum, sum or rescaling of a row: a tile of weights is final once computed, and a tile without a
positive score contributes nothing. `RELUFORMER_KERNEL` forces a backend: `cpu` (C++), `tiled` (plain torch), `triton`
(CUDA), or `reference`, the read that stores its weights.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from reluformer.config.settings import SettingsError, nearest
from reluformer.memory.backends import TRITON_WIDEST, FusedKernel
from reluformer.memory.backends.cpu import SOURCE, cpu_relu_attention
from reluformer.memory.backends.tiled import tiled_relu_attention
from reluformer.ops.build import library

BACKENDS = ("reference", "tiled", "cpu", "triton")
TRITON = all(find_spec(name) is not None for name in ("triton", "reluformer.memory.backends.triton_relu"))
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
        raise SettingsError("RELUFORMER_KERNEL: triton: the kernel or the package is not installed")
    if forced in ("reference", "tiled") or query.dtype not in KERNEL_DTYPES:
        return forced if forced == "reference" else "tiled"
    if query.device.type == "cuda":
        return "triton" if TRITON and query.size(-1) <= TRITON_WIDEST else "tiled"
    if query.device.type == "cpu":
        return forced or ("tiled" if library(SOURCE) is None else "cpu")
    return "tiled"


def relu_kernel(query: Tensor) -> FusedKernel | None:
    """Returns the kernel for queries like `query`; None for the read that stores its weights."""
    name = backend(query)
    if name == "triton":
        from reluformer.memory.backends.triton_relu import triton_relu_attention

        return triton_relu_attention
    return {"cpu": cpu_relu_attention, "tiled": tiled_relu_attention}.get(name)
