"""Encoder and decoder as one compiled program, for GPUs.

One program serves all shapes of batches: ours have 3 % of padding, which buckets of static shapes would multiply, and a
CUDA graph a shape would be hundreds of graphs. The loss stays outside: it is a loop over tiles of logits by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from entmax import entmax15, sparsemax
from torch import Tensor

from reluformer.model.transformer import Transformer


def compile_forward(model: Transformer, **options: Any) -> None:
    """Has torch compile `model.forward_with_penalty` at its first call; without gradients it stays as it is.

    The model has the same parameters by the same names, and the same positions must be enough: see
    `Embeddings.positions`. options: to `torch.compile`.
    """
    for projection in (sparsemax, entmax15):
        torch.compiler.allow_in_graph(projection)  # its function is none that the compiler can look into
    eager = model.forward_with_penalty
    compiled = torch.compile(eager, dynamic=True, **options)

    def forward(src: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_mask: Tensor) -> tuple[Tensor, Tensor]:
        chosen = compiled if torch.is_grad_enabled() else eager
        return chosen(src, src_mask, tgt_in, tgt_mask)

    model.forward_with_penalty = forward  # type: ignore[method-assign]
