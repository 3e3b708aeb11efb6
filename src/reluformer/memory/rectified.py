"""Activations other than the paper's and its baselines; `reluformer.memory.activations` has their base classes.

Their sources study decoder-only language models or vision; here they are trained with the same recipe as the paper's.

Shapes: B batch, H heads, Q rows, K slots.
"""

from __future__ import annotations

import math

import torch
from entmax import entmax_bisect
from torch import Tensor, nn

from reluformer.memory.activations import Activation, Normalised, ReLU, Softmax


class LengthScaledReLU(ReLU):
    """weights_ij = max(s_ij, 0) / n_i^alpha (Wortsman et al. 2023, "Replacing softmax with ReLU ...", section 3).

    Their alpha is 1; 0 is direct ReLU and 1/2, up to √2 / γ, the paper's Eq. 6.
    """

    def __init__(self, heads: int = 1, alpha: float = 1.0) -> None:
        super().__init__(heads)
        self.alpha = alpha

    def factor(self, count: Tensor | int) -> Tensor | float:
        return count**-self.alpha


class SquaredReLU(Activation):
    """weights_ij = max(s_ij, 0)² / n_i^alpha (So et al. 2021, "Primer"; in attention Wortsman et al. 2023)."""

    static = True
    functor = "relu-squared"

    def __init__(self, heads: int = 1, alpha: float = 1.0) -> None:
        super().__init__(heads)
        self.alpha = alpha

    def factor(self, count: Tensor | int) -> Tensor | float:
        return count ** (-self.alpha / 2)

    def forward(self, scores: Tensor) -> Tensor:
        return scores.relu_().square()


class ShiftedReLU(ReLU):
    """weights_ij = max(s_ij + bias, 0) / n_i.

    With a bias of 1, equals softmax to first order: exp(s) ≈ 1 + s, and Σ exp(s) ≈ n.
    """

    def __init__(self, heads: int = 1, bias: float = 1.0) -> None:
        super().__init__(heads)
        self.bias = bias

    def factor(self, count: Tensor | int) -> Tensor | float:
        return 1 / count

    def shift(self, count: Tensor | int) -> Tensor | float:
        return self.bias / count


class Sigmoid(Activation):
    """weights_ij = σ(s_ij − log n_i) (Ramapuram et al. 2024, "Theory, Analysis, and Best Practices for Sigmoid ...").

    The bias makes a row of zero scores sum to about 1.
    """

    static = True
    functor = "sigmoid"

    def shift(self, count: Tensor | int) -> Tensor | float:
        return -math.log(count) if isinstance(count, int) else -count.log()

    def forward(self, scores: Tensor) -> Tensor:
        return scores.sigmoid_()


class Softpick(Activation):
    """weights_ij = max(exp(s_ij) − 1, 0) / Σ_j |exp(s_ij) − 1| (Zuhri et al. 2025, "Softpick").

    A row sums to 1 at most, and to 0 if no score is positive.
    """

    static = True
    eps = 1e-8

    def forward(self, scores: Tensor) -> Tensor:
        s = scores.to(torch.promote_types(scores.dtype, torch.float32))
        hidden = s < torch.finfo(scores.dtype).min / 4
        top = s.detach().amax(-1, keepdim=True).clamp(min=0)  # both terms are scaled by exp(-top), so neither overflows
        powers = (torch.exp(s - top) - torch.exp(-top)).masked_fill(hidden, 0)
        weights = powers.relu() / (powers.abs().sum(-1, keepdim=True) + self.eps * torch.exp(-top))
        return weights.to(scores.dtype)


class ScalableSoftmax(Softmax):
    """Softmax of s · log n_i · s_ij, s learned for each head (Nakanishi 2025, "Scalable-Softmax", SSMax).

    s starts at 0.43.
    """

    def __init__(self, heads: int = 1) -> None:
        super().__init__(heads)
        self.slope = nn.Parameter(torch.full((heads, 1, 1), 0.43))

    def factor(self, count: Tensor | int) -> Tensor:  # type: ignore[override]
        return self.slope * (math.log(count) if isinstance(count, int) else count.log())


class Softplus(Activation):
    """weights_ij = softplus(log n_i · s_ij) / Σ_j softplus(log n_i · s_ij) (Gao and Spratling 2025, LSSA).

    Their scale also has a constant factor that depends on the head width (?); here the projections learn it.
    """

    static = True
    normalised = True

    def factor(self, count: Tensor | int) -> Tensor | float:
        return math.log(max(count, 2)) if isinstance(count, int) else count.clamp(min=2).log()

    def forward(self, scores: Tensor) -> Tensor:
        weights = torch.nn.functional.softplus(scores.to(torch.promote_types(scores.dtype, torch.float32)))
        return (weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)).to(scores.dtype)


class LearnedEntmax(Normalised):
    """α-entmax with an α in (1, 2) learned for each head (Correia, Niculae and Martins 2019).

    α starts at 1.5. Computed by bisection (package `entmax`), in fp32 or more.
    """

    static = True

    def __init__(self, heads: int = 1) -> None:
        super().__init__(heads)
        self.logit = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, scores: Tensor) -> Tensor:
        s = scores.to(torch.promote_types(scores.dtype, torch.float32))
        top = s.detach().amax(-1, keepdim=True)
        s = (s - top).clamp(min=-1e9).masked_fill(~top.isfinite(), 0.0)
        alpha = 1 + self.logit.to(s.dtype).sigmoid()
        weights = entmax_bisect(s, alpha=alpha if s.dim() > 2 else alpha[0], dim=-1)
        return (weights + (top - top)).to(scores.dtype)
