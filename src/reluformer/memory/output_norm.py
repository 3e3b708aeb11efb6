"""What follows a read before the residual connection: nothing, LayerNorm, or ReLA's gated RMSNorm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GatedRMSNorm(nn.Module):
    """scale · x / rms(x) · sigmoid(gate · x) over the model dimension (Zhang, Titov and Sennrich 2021, ReLA-g).

    Initialised as the authors do (bzhangGo/zero: modules/rela.py, initializer "uniform_unit_scaling" with gain 1): the
    scale is 1, the gate U(±√(3/E)), ±0.077 at E = 512, so that every gate is nearly half open at the start. Statistics
    are in fp32 or more; an all-zero x stays zero.
    """

    def __init__(self, width: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(width))
        self.gate = nn.Parameter(torch.empty(width).uniform_(-1, 1) * math.sqrt(3 / width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., E], the same shape and dtype out."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return self.scale * normed * torch.sigmoid(self.gate * x)
