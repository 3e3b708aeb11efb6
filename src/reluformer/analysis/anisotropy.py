"""How much the value vectors of a memory point the same way.

Shapes: M tokens, H heads, K slots, D head width, E model width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reluformer.analysis.accumulate import finite
from reluformer.analysis.rows import Rows


class Anisotropy:
    """The mean cosine of two different value vectors, over all pairs (Ethayarajh 2019), in [−1, 1].

    In closed form, with u the vectors at length 1: (‖Σ u‖² − n) / (n·(n − 1)). A learned memory: the n rows of V.
    Attention: the values of all real tokens of the split, head by head, then the mean over the heads. Zero vectors have
    no direction and are left out; fewer than two vectors have no cosine.

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
