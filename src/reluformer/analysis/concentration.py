"""How few slots hold how much, and how alike the value vectors are.

The paper: "top 0.2 % of the slots hold more than 85 % of the Softmax mass".

Shapes: N rows, M tokens, H heads, K slots, D head width, E model width, P percentages.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reluformer.analysis.accumulate import ColumnMean, finite
from reluformer.analysis.rows import Rows

PERCENT = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100")


def top_shares(values: Tensor, counts: Tensor) -> Tensor:
    """Returns the share of Σ values on the largest p % of the slots, for every p of `PERCENT`: [..., P] in [0, 1].

    p % of n slots is rarely a whole number, so the curve is interpolated linearly between whole numbers of slots (a
    Lorenz curve from the top): equal values give exactly p %, whatever n. If Σ values is 0, so is the share.

    values: [..., K], not negative, 0 beyond the first n. counts: int [...], n, the number of slots.
    """
    ranked = values.sort(dim=-1, descending=True).values
    held = torch.nn.functional.pad(ranked.cumsum(-1), (1, 0))  # [..., K + 1]: what the first k slots hold
    total = held[..., -1:]
    percent = torch.tensor([float(p) for p in PERCENT], dtype=torch.float64, device=values.device)
    slots = counts[..., None] * percent / 100
    whole = slots.floor().long()
    rest = (slots - whole).to(values.dtype)
    following = ranked.gather(-1, whole.clamp(max=values.size(-1) - 1))
    shares = (held.gather(-1, whole) + rest * following) / torch.where(total > 0, total, 1)
    return shares.clamp(max=1)


def named(shares: list[float | None]) -> dict[str, float | None]:
    """Returns shares by their percentage."""
    return dict(zip(PERCENT, shares, strict=True))


class TopShare:
    """top_share[p]: the share of a row's Σs on its own p % largest weights (see `top_shares`), mean over the rows.

    A row is one query of one head; of n_i visible slots, p % are p/100 · n_i. All-zero rows are left out; `Mass` counts
    them. every: only each `every`-th token of the split is measured, since sorting is slow.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._skip = 0
        self._mean = ColumnMean()

    def update(self, rows: Rows) -> None:
        weights, counts = rows.weights[self._skip :: self._every], rows.counts[self._skip :: self._every]
        alive = rows.alive[self._skip :: self._every]
        self._skip = (self._skip - rows.weights.size(0)) % self._every
        if weights.size(0):
            shares = top_shares(weights, counts[:, None].expand(-1, weights.size(1)))
            self._mean.add(shares.flatten(0, 1), alive.flatten()[:, None])

    def result(self) -> dict[str, Any]:
        return {"top_share": named(self._mean.columns() or [None] * len(PERCENT))}


class SlotUse:
    """used_slots: the share of the slots of a learned memory that got any weight (> 0) from any token of the split.

    effective_slots, for Softmax, which never gives 0: the share of the slots that got at least the even share of its
    weight, Σs / K, from some token.
    """

    def __init__(self) -> None:
        self._largest: Tensor | None = None  # [2, K]: the largest weight and the largest share that each slot got

    def update(self, rows: Rows) -> None:
        largest = torch.stack([rows.weights.amax((0, 1)), rows.shares.amax((0, 1))])
        self._largest = largest if self._largest is None else torch.maximum(self._largest, largest)

    def result(self) -> dict[str, Any]:
        if self._largest is None:
            return {"used_slots": None, "effective_slots": None}
        weight, share = self._largest
        even = (1 - 1e-5) / len(share)  # equal weights are even, whatever the rounding
        return {
            "used_slots": float((weight > 0).float().mean()),
            "effective_slots": float((share >= even).float().mean()),
        }


class ValueNorms:
    """value_norm_top_share[p]: the share of Σ_j ‖v_j‖ of a learned memory on the p % of its slots with the largest."""

    def __init__(self) -> None:
        self._values: Tensor | None = None

    def update(self, rows: Rows) -> None:
        self._values = rows.values

    def result(self) -> dict[str, Any]:
        if self._values is None:
            return {"value_norm_top_share": named([None] * len(PERCENT))}
        return {"value_norm_top_share": top_share_of(self._values.double().norm(dim=-1))}


class Anisotropy:
    """The mean cosine of two different value vectors, over all pairs (Ethayarajh 2019), in [−1, 1].

    In closed form, with unit vectors u: (‖Σ u‖² − n) / (n·(n − 1)). Vectors: the n rows of V of a learned memory; of
    attention the values of all real tokens of the split, head by head, then the mean over heads. Zero vectors have no
    direction and are left out; fewer than two vectors have no cosine.

    learned: whether the vectors are the same in every batch.
    """

    def __init__(self, learned: bool) -> None:
        self._learned = learned
        self._sum: Tensor | None = None  # [H, D]
        self._count: Tensor | None = None  # [H]

    def update(self, rows: Rows) -> None:
        if self._learned and self._sum is not None:
            return
        values = (rows.values[:, None] if self._learned else rows.values).double()  # [K, 1, E] or [M, H, D]
        norm = values.norm(dim=-1, keepdim=True)
        total = (values / torch.where(norm > 0, norm, 1)).sum(0)
        count = (norm[..., 0] > 0).sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._count = count if self._count is None else self._count + count

    def result(self) -> dict[str, Any]:
        if self._sum is None or self._count is None:
            return {"anisotropy": None}
        n = self._count.double()
        cosine = ((self._sum**2).sum(-1) - n) / (n * (n - 1))
        some = n > 1
        return {"anisotropy": finite(cosine[some].mean()) if some.any() else None}


def top_share_of(values: Tensor) -> dict[str, float | None]:
    """Returns `top_shares` of one row of values [K], by percentage; None if all are 0."""
    if not values.sum() > 0:
        return named([None] * len(PERCENT))
    shares = top_shares(values, torch.tensor(values.size(-1), device=values.device))
    return named([finite(share) for share in shares.tolist()])
