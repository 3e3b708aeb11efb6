"""Collects the tests of this folder only if torch sees a CUDA device; Triton's also run in its interpreter."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    interpreted = ("test_triton_relu_gpu.py", "test_triton_kernels_gpu.py")
    collect_ignore_glob = ["test_*_gpu.py"]
    if os.environ.get("TRITON_INTERPRET") == "1":
        collect_ignore_glob = ["test_memory_gpu.py", "test_decoding_gpu.py", "test_no_waiting_gpu.py"]
