"""Eq. 7, the penalty on the weights of a read: per row, L = |log Σs| + max(H(s) − C, 0), C = margin · log n_i.

Shapes: H heads, Q rows, K slots.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from reluformer.config.memory import PenaltyConfig

LEAST_SUM = 1e-4
"""Lower bound of row sums: log Σs of an all-zero row is log 1e-4 ≈ −9.2, and gradients stay below 1e4."""


class RowSums(torch.autograd.Function):
    """(Σ_j s_j, Σ_j s_j log s_j) of every row in fp32 or more, with 0 log 0 = 0 and finite gradients everywhere.

    One function, so that the backward pass needs a single buffer and never computes 0 · ∞.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weights)
        s = weights.to(torch.promote_types(weights.dtype, torch.float32))
        return s.sum(-1), torch.special.entr(s).sum(-1).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sum: Tensor, grad_log: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        s = weights.to(grad_sum.dtype)
        slope = s.clamp(min=torch.finfo(s.dtype).tiny).log_().add_(1)
        return slope.mul_(grad_log[..., None]).add_(grad_sum[..., None]).to(weights.dtype)


class Penalty:
    """The penalty of Eq. 7: λ times the mean of L over heads and real rows."""

    def __init__(self, config: PenaltyConfig) -> None:
        self.config = config

    def rows(self, total: Tensor, logs: Tensor, count: Tensor | int) -> Tensor:
        """Returns L of each row [..., Q], without λ, from its Σs and Σ s log s [..., Q]; an all-zero row has H = 0."""
        loss = torch.zeros_like(total)
        log_total = total.clamp(min=LEAST_SUM).log()
        if self.config.normalisation:
            loss = loss + (log_total.abs() if self.config.absolute else log_total)
        if self.config.entropy:
            if self.config.entropy_of == "raw":
                entropy = -logs
            else:
                alive = total > LEAST_SUM
                entropy = (log_total - logs / total.clamp(min=LEAST_SUM)).masked_fill(~alive, 0.0)
            log_count = math.log(count) if isinstance(count, int) else count.to(total.dtype).log().squeeze(-1)
            loss = loss + (entropy - self.config.margin * log_count).relu()
        return loss

    def __call__(self, total: Tensor, logs: Tensor, count: Tensor | int, rows: Tensor | None = None) -> Tensor:
        """Returns the penalty of one read as a scalar in fp32 or more.

        Args:
            total, logs: Σs and Σ s log s of each row [B, (H,) Q], of the weights before dropout; see `RowSums`.
            count: n_i, see `AttentionMask.count`.
            rows: bool [B, Q], false on padding; None if all rows are real.
        """
        loss = self.rows(total, logs, count)
        if rows is None:
            return self.config.weight * loss.mean()
        real = rows if loss.dim() == 2 else rows[:, None]
        heads = 1 if loss.dim() == 2 else loss.size(1)
        return self.config.weight * loss.masked_fill(~real, 0.0).sum() / (rows.sum() * heads).clamp(min=1)
