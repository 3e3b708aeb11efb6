"""The state of incremental decoding with shapes that never change: what one CUDA graph can read and write step by step.

Shapes: L layers, B sources, W rows (hypotheses) of each, side by side; H heads, D head width, S source tokens, T tokens
of a target at most, C = W·T slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reluformer.memory.mask import AttentionMask, RowMask


@dataclass(eq=False)
class FixedState:
    """Keys and values of the target so far and of the source, all changed in place; `State` is its like that grows.

    The token at position t of row w of a source has the slot t·W + w of that source. A row sees the slots that it has
    marked: those of the tokens that led to it. Reordering the rows moves marks, and no key.

    source: [L, 2, B, H, S, D], keys and values. target: [L, 2, B, H, C, D], likewise. keys: bool [B, S], true at real
    source tokens. marks: bool [B, W, C]. position: int, without dimensions, tokens of every row so far. newest: int
    [W], the slots of the newest. table: [T, E], the vectors of the positions.
    """

    source: Tensor
    target: Tensor
    keys: Tensor
    marks: Tensor
    position: Tensor
    newest: Tensor
    table: Tensor

    @classmethod
    def empty(
        cls, table: Tensor, layers: int, sources: int, width: int, source_tokens: int, heads: tuple[int, int]
    ) -> FixedState:
        """Room for so many, on the device and in the number format of the table; heads: H, D."""
        slots = width * len(table)
        return cls(
            table.new_zeros(layers, 2, sources, heads[0], source_tokens, heads[1]),
            table.new_zeros(layers, 2, sources, heads[0], slots, heads[1]),
            table.new_zeros(sources, source_tokens, dtype=torch.bool),
            table.new_zeros(sources, width, slots, dtype=torch.bool),
            table.new_zeros((), dtype=torch.long),
            torch.arange(-width, 0, device=table.device),
            table,
        )

    def fill(self, source: list[tuple[Tensor, Tensor]], keys: Tensor) -> None:
        """Begins anew with the sources' keys and values [B', H, S', D] of each layer; keys: bool [B', S']."""
        for zero in (self.source, self.target, self.keys, self.marks, self.position):
            zero.zero_()
        torch.arange(-self.width, 0, out=self.newest)
        sources, tokens = keys.shape
        self.keys[:sources, :tokens] = keys
        for held, layer in zip(self.source, source, strict=True):
            for kept, new in zip(held, layer, strict=True):
                kept[:sources, :, :tokens] = new

    def narrow(self, sources: int, capacity: int) -> FixedState:
        """The first sources, and the room for the first tokens of a target, in the same memory."""
        slots = self.width * capacity
        return replace(
            self,
            source=self.source[:, :, :sources],
            target=self.target[:, :, :sources, :, :slots],
            keys=self.keys[:sources],
            marks=self.marks[:sources, :, :slots],
        )

    def move(self, to: Tensor, origin: Tensor) -> None:
        """Puts the sources `origin` [n] in the places `to` [n], which are none of them."""
        for held in (self.source, self.target):
            held[:, :, to] = held[:, :, origin]
        for held in (self.keys, self.marks):
            held[to] = held[origin]

    def reorder(self, rows: Tensor) -> None:
        """Row w of a source becomes its present row `rows[:, w]`; int [B, W]."""
        self.marks.copy_(self.marks.gather(1, rows[..., None].expand_as(self.marks)))

    @property
    def nbytes(self) -> int:
        """The memory that the keys and values take."""
        return self.source.nbytes + self.target.nbytes

    @property
    def sources(self) -> int:
        """B, the sources."""
        return self.marks.size(0)

    @property
    def width(self) -> int:
        """W, the rows of each source."""
        return self.marks.size(1)

    @property
    def first(self) -> Tensor:
        """The vector [1, E] of the newest token's position."""
        return self.table.index_select(0, self.position[None] - 1)

    @property
    def seen(self) -> AttentionMask:
        """What each row sees of its source's target slots."""
        return RowMask(self.marks, self.position)

    @property
    def visible(self) -> AttentionMask:
        """The real source tokens."""
        return AttentionMask(self.keys.size(1), self.keys)

    def advance(self) -> None:
        """Marks the slot of one more token of each row."""
        self.position += 1
        self.newest += self.width
        slots = torch.arange(self.marks.size(2), device=self.marks.device)
        self.marks |= slots == self.newest[:, None]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts away the newest tokens' keys and values [B, H, W, D] of a layer; gives all that there are."""
        kept = self.target[layer]
        for slots, new in zip(kept, (key, value), strict=True):
            slots.index_copy_(2, self.newest, new)
        return kept[0], kept[1]

    def source_slots(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D] of one layer."""
        return self.source[layer, 0], self.source[layer, 1]
