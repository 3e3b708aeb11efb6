"""Measures of a memory's weights, of their concentration on few slots, and of the similarity of its value vectors.

A row is one query of one head; p = s / Σs are its normalised weights. The paper: "top 0.2 % of the slots hold more than
85 % of the Softmax mass".

Shapes: N rows, M tokens, H heads, K slots, D head width, E model width, P percentages.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from reluformer.analysis.accumulate import ZERO, ColumnMean, finite
from reluformer.analysis.rows import Rows
from reluformer.config.metrics import SHARES

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
    beyond[d]: Σ_{|i−j| > d} p_ij, over the rows that may see a slot that far away; None without such a row.
    """

    def __init__(self) -> None:
        self._means: dict[str, ColumnMean] = defaultdict(ColumnMean)
        self._beyond: dict[int, ColumnMean] = defaultdict(ColumnMean)

    def update(self, rows: Rows) -> None:
        every = torch.ones_like(rows.alive)
        used = torch.count_nonzero(rows.weights, dim=-1)  # hidden slots have no weight
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


def top_shares(values: Tensor, counts: Tensor) -> Tensor:
    """Returns the share of Σ values on the largest p % of the slots, for every p of `SHARES`: [..., P] in [0, 1].

    p % of n slots is rarely a whole number, so the curve is interpolated linearly between whole numbers of slots (a
    Lorenz curve from the top): equal values give exactly p %, whatever n. If Σ values is 0, so is the share.

    values: [..., K], not negative, 0 beyond the first n. counts: int [...], n, the number of slots.
    """
    ranked = values.sort(dim=-1, descending=True).values
    held = torch.nn.functional.pad(ranked.cumsum(-1), (1, 0))  # [..., K + 1]: what the first k slots hold
    total = held[..., -1:]
    percent = torch.tensor([float(p) for p in SHARES], dtype=torch.float64, device=values.device)
    slots = counts[..., None] * percent / 100
    whole = slots.floor().long()
    rest = (slots - whole).to(values.dtype)
    following = ranked.gather(-1, whole.clamp(max=values.size(-1) - 1))
    shares = (held.gather(-1, whole) + rest * following) / torch.where(total > 0, total, 1)
    return shares.clamp(max=1)


class TopShare:
    """top_share[p]: the share of a row's Σs on its own p % largest weights (see `top_shares`), averaged over rows.

    A row is one query of one head; of n_i visible slots, p % are p/100 · n_i. All-zero rows are left out. every: only
    one token in `every` of the split is measured, since sorting is slow.
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
        return {"top_share": dict(zip(SHARES, self._mean.columns(), strict=True))}


class Anisotropy:
    """The mean cosine of two different value vectors, over all pairs (Ethayarajh 2019), in [−1, 1].

    In closed form, with unit vectors u: (‖Σ u‖² − n) / (n·(n − 1)). In attention, the vectors are the values of all
    real tokens of the split, separately for each head, and the result is the mean over heads. Zero vectors have no
    direction and are left out; fewer than two vectors have no cosine.
    """

    def __init__(self) -> None:
        self._sum = self._count = ZERO  # [H, D] and [H]

    def update(self, rows: Rows) -> None:
        self.add(rows.values)

    def add(self, values: Tensor) -> None:
        """Adds value vectors [M, H, D]."""
        values = values.double()
        norm = values.norm(dim=-1, keepdim=True)
        self._sum = self._sum + (values / torch.where(norm > 0, norm, 1)).sum(0)
        self._count = self._count + (norm[..., 0] > 0).sum(0)

    def result(self) -> dict[str, Any]:
        n = self._count
        cosine = ((self._sum**2).sum(-1) - n) / (n * (n - 1))
        return {"anisotropy": finite(cosine[n > 1].mean())}


class LearnedSlots:
    """The slots of a learned memory, whose values are the same in every batch.

    used_slots: the share of the slots that got any weight (> 0) from any token of the split.
    effective_slots, for Softmax, which never gives 0: the share of the slots that got at least the even share of its
    weight, Σs / K, from some token.
    value_norm_top_share[p]: the share of Σ_j ‖v_j‖ on the p % of the slots with the largest norms.
    anisotropy: of the K value vectors, see `Anisotropy`.
    """

    def __init__(self) -> None:
        self._largest = ZERO  # [2, K]: the largest weight and the largest share that each slot got
        self._values = ZERO

    def update(self, rows: Rows) -> None:
        largest = torch.stack([rows.weights.amax((0, 1)), rows.shares.amax((0, 1))])
        self._largest, self._values = torch.maximum(self._largest, largest), rows.values

    def result(self) -> dict[str, Any]:
        weight, share = self._largest
        even = (1 - 1e-5) / len(share)  # equal weights are even, whatever the rounding
        anisotropy = Anisotropy()
        anisotropy.add(self._values[:, None])
        return {
            "used_slots": float((weight > 0).float().mean()),
            "effective_slots": float((share >= even).float().mean()),
            "value_norm_top_share": top_share_of(self._values.double().norm(dim=-1)),
            **anisotropy.result(),
        }


def top_share_of(values: Tensor) -> dict[str, float | None]:
    """Returns `top_shares` of one row of values [K], by percentage; None if all are 0."""
    if not values.sum() > 0:
        return dict.fromkeys(SHARES)
    shares = top_shares(values, torch.tensor(values.size(-1), device=values.device))
    return dict(zip(SHARES, map(finite, shares.tolist()), strict=True))


def is_punctuation(piece: str) -> bool:
    """Returns whether a subword piece consists of commas and periods, apart from the word border mark ▁."""
    text = piece.removeprefix("▁")
    return bool(text) and not text.strip(",.")
