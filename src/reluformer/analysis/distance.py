"""How far attention looks, and how much at commas and periods.

A row is one query of one head; p = s / Σs are its weights at sum 1. All-zero rows are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reluformer.analysis.accumulate import ColumnMean
from reluformer.analysis.rows import Rows

BEYOND = (128, 256, 512)


def _weighed(rows: Rows, what: Tensor) -> Tensor:
    """Returns Σ_j p_ij · what_ij of every row: what [N, K] -> [N, H]."""
    return torch.einsum("nhk,nk->nh", rows.shares, what.to(rows.shares.dtype))


class Distance:
    """distance: the mean over the rows of Σ_j p_ij·|i − j|, in subword tokens. Self-attention only.

    beyond[d]: the mean of Σ_{|i−j| > d} p_ij over the rows that may see a slot so far away; None without such a row.
    """

    def __init__(self) -> None:
        self._mean = ColumnMean()
        self._beyond = {d: ColumnMean() for d in BEYOND}

    def update(self, rows: Rows) -> None:
        if rows.distance is None:
            return
        self._mean.add(_weighed(rows, rows.distance), rows.alive)
        for d, mean in self._beyond.items():
            if rows.distance.size(-1) > d + 1:
                far = rows.distance > d
                reachable = (far if rows.visible is None else far & rows.visible).any(-1, keepdim=True)
                mean.add(_weighed(rows, far), rows.alive & reachable)

    def result(self) -> dict[str, Any]:
        return {
            "distance": self._mean.pooled(),
            "beyond": {str(d): mean.pooled() for d, mean in self._beyond.items()},
        }


class Punctuation:
    """punctuation_share: the mean over the rows of Σ p_ij on tokens j that are a comma or a period."""

    def __init__(self) -> None:
        self._mean = ColumnMean()

    def update(self, rows: Rows) -> None:
        if rows.punctuation is not None:
            self._mean.add(_weighed(rows, rows.punctuation), rows.alive)

    def result(self) -> dict[str, Any]:
        return {"punctuation_share": self._mean.pooled()}


def is_punctuation(piece: str) -> bool:
    """Whether a subword piece consists of commas and periods, apart from the word border mark ▁."""
    text = piece.removeprefix("▁")
    return bool(text) and not text.strip(",.")
