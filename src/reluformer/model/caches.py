"""Key-value caches of incremental decoding: `DynamicCache` grows with the hypotheses, `StaticCache` has fixed shapes.

Shapes: L layers, B sources, W rows (hypotheses) of each, consecutive; H heads, D head width, S source tokens, C slots,
T tokens of the longest target, t tokens so far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reluformer.memory.mask import AttentionMask, RowMask
from reluformer.ops.beam import SharedKVCache

KeyValue = tuple[Tensor, Tensor]


class DynamicCache:
    """Keys and values of the target so far and of the source; `Transformer.step` adds a token to every row.

    The rows of a source share its keys and values and those of their common tokens: each token of each row has a slot,
    and a row is the path of slots that led to it. Reordering rows changes paths and copies no keys.

    source: keys and values [B, H, S, D] of each layer. visible: the real source tokens. capacity: the initial
    number of slots; on a CPU, slots never written cost no memory.
    """

    def __init__(self, source: list[KeyValue], visible: AttentionMask, capacity: int = 256) -> None:
        self.source = source
        self.visible = visible
        self.used = 0
        self.path = torch.empty((self.sources, 1, 0), dtype=torch.long, device=source[0][0].device)  # [B, W, t]
        self.target = [(_empty(key, capacity), _empty(value, capacity)) for key, value in source]

    def __len__(self) -> int:
        """Returns the number of rows, B·W."""
        return self.sources * self.width

    @property
    def sources(self) -> int:
        """B, the sources."""
        return self.source[0][0].size(0)

    @property
    def width(self) -> int:
        """W, the rows of each source."""
        return self.path.size(1)

    @property
    def position(self) -> int:
        """t, the number of tokens of each row."""
        return self.path.size(2)

    @property
    def first(self) -> int:
        """The newest token's position."""
        return self.position - 1

    @property
    def seen(self) -> AttentionMask:
        """The mask of self-attention: a row sees all slots of its path."""
        return AttentionMask(self.position)

    def advance(self) -> None:
        """Adds a slot for the next token of each row."""
        new = torch.arange(self.used, self.used + self.width, device=self.path.device)
        self.path = torch.cat([self.path, new.view(1, -1, 1).expand(self.sources, -1, -1)], 2)
        self.used += self.width
        capacity = self.target[0][0].size(2)
        if self.used > capacity:
            more = max(self.used - capacity, capacity)
            self.target = [(_longer(key, more), _longer(value, more)) for key, value in self.target]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[SharedKVCache, SharedKVCache]:
        """Stores the newest tokens' keys and values [B, H, W, D] of a layer; returns the slots that each row sees."""
        cached = self.target[layer]
        for slots, new in zip(cached, (key, value), strict=True):
            slots[:, :, self.used - self.width : self.used] = new
        return SharedKVCache(cached[0], self.path), SharedKVCache(cached[1], self.path)

    def source_slots(self, layer: int) -> KeyValue:
        """Returns keys and values [B, H, S, D] of the source for one layer."""
        return self.source[layer]

    def select(self, rows: Tensor) -> None:
        """Keeps, reorders or repeats rows; rows: int [R'], indices of current rows."""
        of = rows // self.width
        sources, counts = torch.unique_consecutive(of, return_counts=True)
        if not bool((counts == counts[0]).all()):  # unequal numbers of rows: give each its own source
            sources = of
        self.path = self.path[of, rows % self.width].view(len(sources), len(rows) // len(sources), self.position)
        moved = (sources != torch.arange(len(sources), device=sources.device)).nonzero().flatten()
        if not len(moved) and len(sources) == self.sources:
            return
        self.visible = self.visible.select(sources)
        more = len(sources) > self.sources

        def selected(slots: Tensor, used: int) -> Tensor:
            if more:
                return slots.index_select(0, sources)
            slots[moved, :, :used] = slots[sources[moved], :, :used]
            return slots[: len(sources)]

        self.target = [(selected(key, self.used), selected(value, self.used)) for key, value in self.target]
        self.source = [(selected(key, key.size(2)), selected(value, value.size(2))) for key, value in self.source]


def _empty(like: Tensor, slots: int) -> Tensor:
    return like.new_empty(like.size(0), like.size(1), slots, like.size(3))


def _longer(slots: Tensor, more: int) -> Tensor:
    return torch.cat([slots, _empty(slots, more)], dim=2)


@dataclass(eq=False)
class StaticCache:
    """A cache in tensors of fixed shapes, all updated in place, so that a CUDA graph can capture a step.

    The token at position t of row w of a source has slot t·W + w of that source's C = W·T. `marks` are the slots that a
    row sees: those of the tokens that led to it. Reordering rows moves marks and copies no keys.

    source: [L, 2, B, H, S, D], keys and values. target: [L, 2, B, H, C, D]. keys: bool [B, S], true at real source
    tokens. marks: bool [B, W, C]. position: int scalar, tokens per row so far. newest: int [W], the newest tokens'
    slots. table: [T, E], the position vectors.
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
    ) -> StaticCache:
        """Allocates on the table's device and in its dtype; heads: H, D."""
        slots = width * len(table)
        return cls(
            source=table.new_zeros(layers, 2, sources, heads[0], source_tokens, heads[1]),
            target=table.new_zeros(layers, 2, sources, heads[0], slots, heads[1]),
            keys=table.new_zeros(sources, source_tokens, dtype=torch.bool),
            marks=table.new_zeros(sources, width, slots, dtype=torch.bool),
            position=table.new_zeros((), dtype=torch.long),
            newest=torch.arange(-width, 0, device=table.device),
            table=table,
        )

    def fill(self, source: list[KeyValue], keys: Tensor) -> None:
        """Starts over with the sources' keys and values [B', H, S', D] of each layer; keys: bool [B', S']."""
        for tensor in (self.source, self.target, self.keys, self.marks, self.position):
            tensor.zero_()
        torch.arange(-self.width, 0, out=self.newest)
        sources, tokens = keys.shape
        self.keys[:sources, :tokens] = keys
        for cached, layer in zip(self.source, source, strict=True):
            for slots, new in zip(cached, layer, strict=True):
                slots[:sources, :, :tokens] = new

    def narrow(self, sources: int, capacity: int) -> StaticCache:
        """Returns a view of the first sources and of the slots for the first `capacity` target tokens."""
        slots = self.width * capacity
        return replace(
            self,
            source=self.source[:, :, :sources],
            target=self.target[:, :, :sources, :, :slots],
            keys=self.keys[:sources],
            marks=self.marks[:sources, :, :slots],
        )

    def move(self, to: Tensor, origin: Tensor) -> None:
        """Copies the sources `origin` [n] to the places `to` [n], which must not overlap."""
        for by_layer in (self.source, self.target):
            by_layer[:, :, to] = by_layer[:, :, origin]
        for by_source in (self.keys, self.marks):
            by_source[to] = by_source[origin]

    def reorder(self, rows: Tensor) -> None:
        """Replaces row w of each source by its row `rows[:, w]`; int [B, W]."""
        self.marks.copy_(self.marks.gather(1, rows[..., None].expand_as(self.marks)))

    @property
    def nbytes(self) -> int:
        """The size in bytes of the keys and values."""
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
        """The mask of self-attention: the target slots that each row sees."""
        return RowMask(self.marks, self.position)

    @property
    def visible(self) -> AttentionMask:
        """The real source tokens."""
        return AttentionMask(self.keys.size(1), self.keys)

    def advance(self) -> None:
        """Marks the slot of the next token of each row."""
        self.position += 1
        self.newest += self.width
        slots = torch.arange(self.marks.size(2), device=self.marks.device)
        self.marks |= slots == self.newest[:, None]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> KeyValue:
        """Stores the newest tokens' keys and values [B, H, W, D] of a layer; returns those of all slots."""
        cached = self.target[layer]
        for slots, new in zip(cached, (key, value), strict=True):
            slots.index_copy_(2, self.newest, new)
        return cached[0], cached[1]

    def source_slots(self, layer: int) -> KeyValue:
        """Returns keys and values [B, H, S, D] of the source for one layer."""
        return self.source[layer, 0], self.source[layer, 1]
