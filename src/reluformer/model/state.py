"""The state of incremental decoding: what the decoder has read so far, for every row of a batch.

Shapes: R rows, B sources, H heads, C capacity in tokens, S source tokens, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluformer.memory.visible import Visible

Slots = tuple[Tensor, Tensor]


class State:
    """Keys and values of the target so far and of the source; changed in place by `Transformer.step`.

    Neighbouring rows of one source (the hypotheses of a beam) share its keys and values. Rows are the first dimension
    of every tensor, so that a selection, at every step of a search, copies whole blocks.

    source: keys and values [B, H, S, D] of each layer, computed once. visible: which source tokens are real.
    """

    def __init__(self, source: list[Slots], visible: Visible, capacity: int = 32) -> None:
        self.source = source
        self.visible = visible
        self.position = 0
        self.rows = self.sources
        self.target = [(_room(key, capacity), _room(value, capacity)) for key, value in source]

    def __len__(self) -> int:
        """R, the rows."""
        return self.rows

    @property
    def sources(self) -> int:
        """B, the sources; each has R / B rows, side by side."""
        return self.source[0][0].size(0)

    def advance(self) -> None:
        """Makes room for one more token."""
        self.position += 1
        capacity = self.target[0][0].size(2)
        if self.position > capacity:
            more = max(32, capacity // 2)
            self.target = [(_longer(key, more), _longer(value, more)) for key, value in self.target]

    def target_slots(self, layer: int) -> Slots:
        """Keys and values [R, H, position, D] of one layer, the last slot of each to be filled in."""
        key, value = self.target[layer]
        return key[:, :, : self.position], value[:, :, : self.position]

    def source_slots(self, layer: int) -> Slots:
        """Keys and values [B, H, S, D] of one layer."""
        return self.source[layer]

    def select(self, rows: Tensor) -> None:
        """Keeps, reorders or repeats rows; rows: int [R'], indices into the present rows."""
        sources, counts = torch.unique_consecutive(rows // (self.rows // self.sources), return_counts=True)
        if not bool((counts == counts[0]).all()):  # unequal numbers of rows: each gets a source of its own
            sources = rows // (self.rows // self.sources)
        self.target = [(key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.target]
        if not torch.equal(sources, torch.arange(self.sources, device=sources.device)):
            self.source = [(key.index_select(0, sources), value.index_select(0, sources)) for key, value in self.source]
            self.visible = self.visible.select(sources)
        self.rows = len(rows)


def _room(like: Tensor, tokens: int) -> Tensor:
    return like.new_zeros(like.size(0), like.size(1), tokens, like.size(3))


def _longer(slots: Tensor, tokens: int) -> Tensor:
    return torch.cat([slots, _room(slots, tokens)], dim=2)
