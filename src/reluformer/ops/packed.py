"""Constant weights in the layout of oneDNN's kernels, for inference in fp32 on a CPU.

A step of a search multiplies few rows with large matrices. torch's own linear packs the matrix anew each time: on the
40 rows of a beam of 5 over 8 sentences a packed 512 x 10,000 projection takes 0.57 of its time, on 240 rows 0.8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROWS = 64  # what oneDNN is told to expect; its layout serves any number of them


class Packed(nn.Module):
    """x · Wᵀ + b, without gradients; keys or values (see `read.Slots`), or what an `nn.Linear` was.

    weight: [N, K] fp32. bias: [N] or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., K] -> [..., N]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def scores(self, query: Tensor) -> Tensor:
        """As keys: query [..., K] -> [..., N slots]."""
        return self(query)

    def mix(self, weights: Tensor) -> Tensor:
        """As values, W transposed: weights [..., K slots] -> [..., N]."""
        return self(weights)


def packable(weight: Tensor) -> bool:
    """Whether oneDNN is there for such a weight: fp32 on a CPU."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return (
        known and torch.backends.mkldnn.is_available() and weight.device.type == "cpu" and weight.dtype == torch.float32
    )


def pack(model: nn.Module) -> None:
    """Packs every weight of a model that is used for nothing but inference from now on, where that can be done.

    Linear modules are replaced, and their parameters gone; modules with a method `pack` see to their own.
    """
    if not all(packable(weight) for weight in model.parameters()):
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Packed(child.weight, child.bias))
        if callable(own := getattr(module, "pack", None)):
            own()
