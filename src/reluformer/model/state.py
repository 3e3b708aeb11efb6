"""The state of incremental decoding: what the decoder has read so far, for every row of a batch.

Shapes: N decoder layers, B rows, H heads, C capacity in tokens, S source tokens, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluformer.memory.visible import Visible


class State:
    """Keys and values of the target so far and of the source; changed in place by `Transformer.step`.

    source: [N, 2, B, H, S, D], computed once. visible: which source tokens are real.
    """

    def __init__(self, source: Tensor, visible: Visible, capacity: int = 32) -> None:
        self.source = source
        self.visible = visible
        self.position = 0
        layers, two, batch, heads, _, width = source.shape
        self.target = source.new_zeros(layers, two, batch, heads, capacity, width)

    def __len__(self) -> int:
        """B, the rows."""
        return self.source.size(2)

    def advance(self) -> None:
        """Makes room for one more token."""
        self.position += 1
        if self.position > self.target.size(-2):
            room = torch.zeros_like(self.target[..., : max(32, self.target.size(-2) // 2), :])
            self.target = torch.cat([self.target, room], dim=-2)

    def target_slots(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, position, D] of one layer, the last slot of each to be filled in."""
        seen = self.target[layer, :, :, :, : self.position]
        return seen[0], seen[1]

    def source_slots(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D] of one layer."""
        return self.source[layer, 0], self.source[layer, 1]

    def select(self, rows: Tensor) -> None:
        """Keeps, reorders or repeats rows; rows: int [B'], indices into the present rows."""
        self.target = self.target.index_select(2, rows)
        self.source = self.source.index_select(2, rows)
        self.visible = self.visible.select(rows)
