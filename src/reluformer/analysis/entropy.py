"""How a row's weight is spread over its slots: entropy, exact zeros, sum.

A row is one query of one head. Means are over the rows of all real tokens of the split and all heads.
"""

from __future__ import annotations

from typing import Any

import torch

from reluformer.analysis.accumulate import ColumnMean
from reluformer.analysis.rows import Rows


class Entropy:
    """H = −Σ_j p_j log p_j with p = s / Σs, in nats, 0 log 0 = 0 (the entropy of Eq. 7, normalised).

    All-zero rows have no entropy and are left out; `Mass` counts them. entropy_by_head: attention only.
    """

    # Smaller shares contribute nothing, and torch's log of subnormal numbers is slow.
    _LEAST = 1e-30

    def __init__(self, by_head: bool) -> None:
        self._by_head = by_head
        self._mean = ColumnMean()

    def update(self, rows: Rows) -> None:
        self._mean.add(-rows.shares.clamp_min(self._LEAST).log_().mul_(rows.shares).sum(-1), rows.alive)

    def result(self) -> dict[str, Any]:
        by_head = {"entropy_by_head": self._mean.columns()} if self._by_head else {}
        return {"entropy": self._mean.pooled(), **by_head}


class ZeroShare:
    """The share of a row's visible slots whose weight is exactly 0, in [0, 1]; all-zero rows count with 1."""

    def __init__(self, by_head: bool) -> None:
        self._by_head = by_head
        self._mean = ColumnMean()

    def update(self, rows: Rows) -> None:
        used = torch.count_nonzero(rows.weights, dim=-1)  # no weight lies on a slot that is not visible
        self._mean.add(1 - used / rows.counts[:, None], torch.ones_like(used, dtype=torch.bool))

    def result(self) -> dict[str, Any]:
        by_head = {"zero_share_by_head": self._mean.columns()} if self._by_head else {}
        return {"zero_share": self._mean.pooled(), **by_head}


class Mass:
    """weight_sum: the mean of Σ_j s_j, which Eq. 7 pulls towards 1; zero_rows: the share of all-zero rows."""

    def __init__(self) -> None:
        self._sum = ColumnMean()
        self._zero = ColumnMean()

    def update(self, rows: Rows) -> None:
        every = torch.ones_like(rows.alive)
        self._sum.add(rows.mass, every)
        self._zero.add((rows.mass == 0).float(), every)

    def result(self) -> dict[str, Any]:
        return {"weight_sum": self._sum.pooled(), "zero_rows": self._zero.pooled()}
