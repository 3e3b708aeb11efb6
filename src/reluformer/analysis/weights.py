"""What the weights of single rows are like: entropy, zeros, sum, distance, punctuation.

A row is one query of one head; p = s / Σs are its weights at sum 1.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from reluformer.analysis.accumulate import ColumnMean
from reluformer.analysis.rows import Rows

BEYOND = (128, 256, 512)
LEAST = 1e-30
"""Smaller shares add nothing to an entropy, and torch's log of subnormal numbers is slow."""


class RowMeans:
    """Means over the rows of all real tokens of the split and all heads.

    entropy: H = −Σ_j p_j log p_j, in nats, 0 log 0 = 0 (the entropy of Eq. 7, normalised); all-zero rows are left out.
    zero_share: the share of a row's visible slots whose weight is exactly 0, in [0, 1]; 1 for an all-zero row.
    weight_sum: Σ_j s_j, which Eq. 7 pulls towards 1.
    zero_rows: the share of all-zero rows.

    Attention only, without all-zero rows:
    punctuation_share: Σ p_ij on tokens j that are a comma or a period.
    entropy_by_head, zero_share_by_head.

    Self-attention only, without all-zero rows:
    distance: Σ_j p_ij·|i − j|, in subword tokens.
    beyond[d]: Σ_{|i−j| > d} p_ij, of the rows that may see a slot so far away; None without such a row.
    """

    def __init__(self) -> None:
        self._means: dict[str, ColumnMean] = defaultdict(ColumnMean)
        self._beyond: dict[int, ColumnMean] = defaultdict(ColumnMean)

    def update(self, rows: Rows) -> None:
        every = torch.ones_like(rows.alive)
        used = torch.count_nonzero(rows.weights, dim=-1)  # no weight lies on a slot that is not visible
        entropy = -rows.shares.clamp_min(LEAST).log_().mul_(rows.shares).sum(-1)
        self._means["entropy"].add(entropy, rows.alive)
        self._means["zero_share"].add(1 - used / rows.counts[:, None], every)
        self._means["weight_sum"].add(rows.mass, every)
        self._means["zero_rows"].add((rows.mass == 0).float(), every)
        if rows.punctuation is not None:
            self._means["punctuation_share"].add(_weighed(rows, rows.punctuation), rows.alive)
        if rows.distance is not None:
            self._means["distance"].add(_weighed(rows, rows.distance), rows.alive)
            for d in BEYOND:
                mean = self._beyond[d]
                if rows.distance.size(-1) > d + 1:
                    far = rows.distance > d
                    reachable = (far if rows.visible is None else far & rows.visible).any(-1, keepdim=True)
                    mean.add(_weighed(rows, far), rows.alive & reachable)

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = {name: mean.pooled() for name, mean in self._means.items()}
        if "punctuation_share" in result:
            result |= {f"{name}_by_head": self._means[name].columns() for name in ("entropy", "zero_share")}
        if self._beyond:
            result["beyond"] = {str(d): mean.pooled() for d, mean in self._beyond.items()}
        return result


def _weighed(rows: Rows, what: Tensor) -> Tensor:
    """Returns Σ_j p_ij · what_ij of every row: what [N, K] -> [N, H]."""
    return torch.einsum("nhk,nk->nh", rows.shares, what.to(rows.shares.dtype))


def is_punctuation(piece: str) -> bool:
    """Whether a subword piece consists of commas and periods, apart from the word border mark ▁."""
    text = piece.removeprefix("▁")
    return bool(text) and not text.strip(",.")
