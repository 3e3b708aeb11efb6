"""Masks: which slots each row of a read sees, and their number, the paper's n_i.

Shapes: B batch, H heads, Q rows (queries), K slots (keys).
"""

from __future__ import annotations

import torch
from torch import Tensor


class AttentionMask:
    """The visible slots of every row of one read, shared by all layers that see the same slots.

    slots: K, the number of slots.
    keys: bool [B, K], true where the slot is real (not padding); None if all are.
    causal: row i of Q sees only the slots up to i + K - Q, as in a decoder's self-attention.
    """

    def __init__(self, slots: int, keys: Tensor | None = None, causal: bool = False) -> None:
        self.slots = slots
        self.keys = keys
        self.causal = causal
        self._bias: tuple[int, torch.dtype, Tensor] | None = None
        self._count: tuple[int, torch.dtype, Tensor] | None = None

    @property
    def all(self) -> bool:
        """Whether every row sees every slot."""
        return self.keys is None and not self.causal

    def mask(self, rows: int, device: torch.device | None = None) -> Tensor | None:
        """Returns bool [B|1, 1, Q|1, K], true where visible; None if every row sees every slot."""
        mask = None if self.keys is None else self.keys[:, None, None, :]
        if not self.causal:
            return mask
        device = device if self.keys is None else self.keys.device
        triangle = torch.ones(rows, self.slots, dtype=torch.bool, device=device).tril_(self.slots - rows)
        return triangle[None, None] if mask is None else mask & triangle

    def bias(self, rows: int, like: Tensor) -> Tensor | None:
        """Returns the additive mask of the scores: [B|1, 1, Q|1, K] of `like`'s dtype, 0 where visible.

        Hidden slots get half the most negative finite number: adding a score cannot overflow, and rows
        without a visible slot stay finite.
        """
        if self.all:
            return None
        if self._bias is None or self._bias[0] != rows or self._bias[1] != like.dtype:
            mask = self.mask(rows, like.device)
            assert mask is not None
            hidden = torch.finfo(like.dtype).min / 2
            self._bias = rows, like.dtype, torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, hidden)
        return self._bias[2]

    def count(self, rows: int, like: Tensor) -> Tensor | int:
        """Returns n_i, at least 1: a number if all rows see all slots, else [B|1, 1, Q|1, 1] in fp32 or more."""
        if self.all:
            return self.slots
        dtype = torch.promote_types(like.dtype, torch.float32)
        if self._count is None or self._count[0] != rows or self._count[1] != dtype:
            mask = self.mask(rows, like.device)
            assert mask is not None
            self._count = rows, dtype, mask.sum(-1, keepdim=True, dtype=dtype).clamp_(min=1)
        return self._count[2]

    def some(self) -> Tensor | None:
        """Returns bool [B, 1, 1, 1], false where a batch entry has no real slot; None if all slots are real."""
        return None if self.keys is None else self.keys.any(-1)[:, None, None, None]

    def select(self, rows: Tensor) -> AttentionMask:
        """Returns the mask of the chosen batch entries; rows: int [B']."""
        return self if self.keys is None else AttentionMask(self.slots, self.keys.index_select(0, rows), self.causal)


class RowMask(AttentionMask):
    """A mask of each row's own slots, as many for every row, as in a search with fixed shapes.

    marks: bool [B, Q, K], true where visible. seen: int scalar tensor, the slots that each row sees, at least 1.
    """

    def __init__(self, marks: Tensor, seen: Tensor) -> None:
        super().__init__(marks.size(-1))
        self.marks = marks
        self.seen = seen

    @property
    def all(self) -> bool:
        """Always False, because checking would synchronise with the GPU."""
        return False

    def mask(self, rows: int, device: torch.device | None = None) -> Tensor:
        """Returns bool [B, 1, Q, K], true where visible."""
        return self.marks[:, None]

    def count(self, rows: int, like: Tensor) -> Tensor:
        """Returns n_i as a scalar tensor in fp32 or more."""
        return self.seen.to(torch.promote_types(like.dtype, torch.float32))

    def select(self, rows: Tensor) -> AttentionMask:
        """Returns the mask of the chosen batch entries; rows: int [B']."""
        return RowMask(self.marks.index_select(0, rows), self.seen)
