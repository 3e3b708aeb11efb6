"""How much arithmetic an update needs, and how much the device gives.

Shapes: B batch, S source and T target tokens, E model width, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

from reluformer.config.model import ModelConfig


def update_flops(model: ModelConfig, shapes: Iterable[tuple[int, int, int]], real: int) -> float:
    """Floating-point operations of forward and backward: 2 a multiplication, backward twice the forward.

    shapes: (B, S, T) of each batch, padding included. real: target tokens, the rows of the vocabulary projection.
    Layers that are not matrix products do not count, as is usual for model FLOPs utilisation.
    """
    e, slots = model.width, model.slots
    total = 2.0 * real * e * model.vocabulary
    for batch, s, t in shapes:
        encoder = s * (4 * e * e + 2 * e * slots) + 2 * s * s * e
        decoder = t * (6 * e * e + 2 * e * slots) + 2 * s * e * e + 2 * t * t * e + 2 * s * t * e
        total += 2.0 * batch * (model.encoder_layers * encoder + model.decoder_layers * decoder)
    return 3 * total


def matmul_peak(device: str, dtype: torch.dtype, size: int = 2048, seconds: float = 1.0) -> float:
    """FLOP/s of the best of many square matrix products, with the threads that torch has."""
    size = size if device == "cpu" else 4 * size
    one = torch.randn(size, size, device=device, dtype=dtype)
    best, end = 0.0, time.perf_counter() + seconds
    torch.mm(one, one)
    while time.perf_counter() < end:
        begin = time.perf_counter()
        torch.mm(one, one)
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best
