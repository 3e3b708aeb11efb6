"""Keys or values of hypotheses that grew from common beginnings: kept once, read along each one's path.

Shapes: B batch, H heads, W hypotheses of one batch entry, C slots, t tokens of a hypothesis so far, D head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reluformer.ops.beam import has_kernel, path_mix, path_scores


class SharedKVCache(NamedTuple):
    """W rows of a batch entry over slots that they share, each seeing t of them.

    A beam that reorders its hypotheses changes their paths, and copies no key.

    slots: [B, H, C, D]. path: int64 [B, W, t], the slots that a row sees, first token first.
    """

    slots: Tensor
    path: Tensor

    def scores(self, query: Tensor) -> Tensor:
        """q·k of each row with what it sees: query [B, H, W, D] -> [B, H, W, t]."""
        if has_kernel(self.slots):
            return path_scores(query, self.slots, self.path)
        return (self.seen() @ query[..., None]).squeeze(-1)

    def mix(self, weights: Tensor) -> Tensor:
        """Σ weight · slot of what each row sees: weights [B, H, W, t] -> [B, H, W, D]."""
        if has_kernel(self.slots):
            return path_mix(weights, self.slots, self.path)
        return (weights[..., None, :] @ self.seen()).squeeze(-2)

    def seen(self) -> Tensor:
        """What each row sees, [B, H, W, t, D]."""
        batch, heads, capacity, width = self.slots.shape
        first = torch.arange(batch * heads, device=self.path.device).view(batch, heads, 1, 1) * capacity
        index = (self.path[:, None] + first).flatten()
        seen = self.slots.reshape(-1, width).index_select(0, index)
        return seen.view(batch, heads, *self.path.shape[1:], width)
