"""The operations of a beam search step other than matrix products: C++ (`beam.cpp`) for fp32 on a CPU, else torch.

The C++ is not differentiable.

Shapes: B batch, H heads, W rows (hypotheses) of a batch entry, C slots, t slots that a row sees, D head width; R rows
of logits, V vocabulary.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from reluformer.ops.paths import call, library, require_close

SOURCE = Path(__file__).with_name("beam.cpp")


def has_kernel(tensor: Tensor) -> bool:
    """Returns whether the C++ kernel applies: fp32 on a CPU, no gradient, kernel available."""
    dense = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.stride(-1) == 1
    differentiable = torch.is_grad_enabled() and tensor.requires_grad
    return dense and not differentiable and library(SOURCE) is not None


class SharedKVCache(NamedTuple):
    """Keys or values of the W hypotheses of a batch entry, which share slots; each sees t of them, its path.

    Reordering hypotheses changes their paths and copies no keys.

    slots: [B, H, C, D]. path: int64 [B, W, t], the slots that a row sees, first token first.
    """

    slots: Tensor
    path: Tensor

    def scores(self, query: Tensor) -> Tensor:
        """Returns q·k of each row with the slots that it sees: query [B, H, W, D] -> [B, H, W, t]."""
        if not has_kernel(self.slots):
            return (self.seen() @ query[..., None]).squeeze(-1)
        scores = query.new_empty(*query.shape[:3], self.path.size(2))
        self._run("beam_scores", scores, query if query.stride(-1) == 1 else query.contiguous())
        return scores

    def mix(self, weights: Tensor) -> Tensor:
        """Returns Σ weight · slot over the slots that each row sees: weights [B, H, W, t] -> [B, H, W, D]."""
        if not has_kernel(self.slots):
            return (weights[..., None, :] @ self.seen()).squeeze(-2)
        batch, heads, rows, _ = weights.shape
        output = self.slots.new_empty(batch, rows, heads, self.slots.size(3))
        output = output.transpose(1, 2)  # joining the heads is then a view
        self._run("beam_mix", weights.contiguous(), output)
        return output

    def seen(self) -> Tensor:
        """Returns the slots that each row sees, [B, H, W, t, D]."""
        batch, heads, capacity, width = self.slots.shape
        first = torch.arange(batch * heads, device=self.path.device).view(batch, heads, 1, 1) * capacity
        index = (self.path[:, None] + first).flatten()
        seen = self.slots.reshape(-1, width).index_select(0, index)
        return seen.view(batch, heads, *self.path.shape[1:], width)

    def _run(self, function: str, weights: Tensor, rows: Tensor) -> None:
        path = self.path.contiguous()
        numbers = [*weights.shape, self.slots.size(3), torch.get_num_threads(), path.data_ptr(), weights.data_ptr()]
        for tensor in (self.slots, rows):
            numbers += [tensor.data_ptr(), *tensor.stride()[:3]]
        call(SOURCE, function, numbers)


def best_tokens(logits: Tensor, k: int, end: int, banned: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns log p [R] of the token `end`, and log p and ids [R, k] of the best tokens not banned, for logits [R, V].

    Sorted, ties by token id; -inf if fewer than k are left. A row with NaN or infinity has no finite
    log p. Overwrites the logits.
    """
    logits = logits.contiguous()
    rows, length = logits.shape
    p, value = logits.new_empty(rows), logits.new_empty(rows, k)
    token = torch.empty(rows, k, dtype=torch.long)
    never = (ctypes.c_int64 * len(banned))(*banned)
    numbers = [rows, length, k, end, torch.get_num_threads(), len(banned), ctypes.addressof(never)]
    call(SOURCE, "beam_best", [*numbers, *(x.data_ptr() for x in (logits, p, value, token))])
    return p, value, token


@torch.no_grad()
def prove(_: str) -> None:
    """Compares the C++ with the same operations in torch; a proof of `ops.paths`."""
    generator = torch.Generator().manual_seed(1)
    slots, query, weights = (torch.randn(2, 3, *shape, generator=generator) for shape in ((9, 16), (4, 16), (4, 5)))
    shared = SharedKVCache(slots, torch.randint(9, (2, 4, 5), generator=generator))
    seen = shared.seen().double()
    require_close("a product with keys", shared.scores(query), (seen @ query.double()[..., None]).squeeze(-1), 1e-5)
    mixed = (weights.double()[..., None, :] @ seen).squeeze(-2)
    require_close("a product with values", shared.mix(weights), mixed, 1e-5)
    logits = torch.randn(5, 301, generator=generator)
    log_p = torch.log_softmax(logits.double(), 1)
    best = log_p.index_fill(1, torch.tensor([2, 3]), -torch.inf).topk(6)
    ended, values, tokens = best_tokens(logits.clone(), 6, 2, [2, 3])
    require_close("the probability of the end", ended, log_p[:, 2], 1e-5)
    require_close("the best probabilities", values, best.values, 1e-5)
    if not torch.equal(tokens, best.indices):
        raise ArithmeticError("the best tokens differ")
