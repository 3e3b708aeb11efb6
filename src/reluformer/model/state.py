"""The state of incremental decoding: what the decoder has read so far, for every row of a batch.

Shapes: B sources, W rows (hypotheses) of each, side by side; H heads, C capacity in slots, S source tokens, D head
width, t tokens so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluformer.memory.mask import AttentionMask
from reluformer.memory.shared_cache import SharedKVCache

Slots = tuple[Tensor, Tensor]


class State:
    """Keys and values of the target so far and of the source; changed in place by `Transformer.step`.

    The rows of one source share its keys and values, and those of the tokens that they have in common: every token of
    every row has a slot, and a row is the path of slots that led to it. Reordering rows changes paths; sources that
    stay where they are are not copied.

    source: keys and values [B, H, S, D] of each layer, computed once. visible: which source tokens are real. capacity:
    slots to begin with; on a CPU those that are never written cost no memory.
    """

    def __init__(self, source: list[Slots], visible: AttentionMask, capacity: int = 256) -> None:
        self.source = source
        self.visible = visible
        self.used = 0
        self.path = torch.empty((self.sources, 1, 0), dtype=torch.long, device=source[0][0].device)
        self.target = [(_room(key, capacity), _room(value, capacity)) for key, value in source]

    def __len__(self) -> int:
        """The rows, B·W."""
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
        """t, the tokens of each row."""
        return self.path.size(2)

    @property
    def first(self) -> int:
        """The newest token's position."""
        return self.position - 1

    @property
    def seen(self) -> AttentionMask:
        """What of its path a row sees: all."""
        return AttentionMask(self.position)

    def advance(self) -> None:
        """Makes room for one more token of each row."""
        new = torch.arange(self.used, self.used + self.width, device=self.path.device)
        self.path = torch.cat([self.path, new.view(1, -1, 1).expand(self.sources, -1, -1)], 2)
        self.used += self.width
        capacity = self.target[0][0].size(2)
        if self.used > capacity:
            more = max(self.used - capacity, capacity)
            self.target = [(_longer(key, more), _longer(value, more)) for key, value in self.target]

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[SharedKVCache, SharedKVCache]:
        """Puts away the newest tokens' keys and values [B, H, W, D] of a layer; gives what each row sees."""
        kept = self.target[layer]
        for slots, new in zip(kept, (key, value), strict=True):
            slots[:, :, self.used - self.width : self.used] = new
        return SharedKVCache(kept[0], self.path), SharedKVCache(kept[1], self.path)

    def source_slots(self, layer: int) -> Slots:
        """Keys and values [B, H, S, D] of one layer."""
        return self.source[layer]

    def select(self, rows: Tensor) -> None:
        """Keeps, reorders or repeats rows; rows: int [R'], indices into the present rows."""
        of = rows // self.width
        sources, counts = torch.unique_consecutive(of, return_counts=True)
        if not bool((counts == counts[0]).all()):  # unequal numbers of rows: each gets a source of its own
            sources = of
        self.path = self.path[of, rows % self.width].view(len(sources), len(rows) // len(sources), self.position)
        moved = (sources != torch.arange(len(sources), device=sources.device)).nonzero().flatten()
        if not len(moved) and len(sources) == self.sources:
            return
        self.visible = self.visible.select(sources)
        more = len(sources) > self.sources

        def kept(slots: Tensor, used: int) -> Tensor:
            if more:
                return slots.index_select(0, sources)
            slots[moved, :, :used] = slots[sources[moved], :, :used]
            return slots[: len(sources)]

        self.target = [(kept(key, self.used), kept(value, self.used)) for key, value in self.target]
        self.source = [(kept(key, key.size(2)), kept(value, value.size(2))) for key, value in self.source]


def _room(like: Tensor, slots: int) -> Tensor:
    return like.new_empty(like.size(0), like.size(1), slots, like.size(3))


def _longer(slots: Tensor, more: int) -> Tensor:
    return torch.cat([slots, _room(slots, more)], dim=2)
