from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass
class ToyState:
    context: Tensor  # [R], stands for the source and every token so far

    def select(self, rows: Tensor) -> None:
        self.context = self.context[rows]


class ToyModel:
    """A random distribution for every source and every prefix: nothing a search could do right by luck.

    `rows` and `steps` count what the search asked for.
    """

    CONTEXTS = 9973

    def __init__(self, vocabulary: int, seed: int = 0, spread: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn((self.CONTEXTS, vocabulary), generator=generator) * spread
        self.rows: list[int] = []

    def start(self, src: Tensor, src_mask: Tensor) -> ToyState:
        place = torch.arange(1, src.shape[1] + 1)
        return ToyState((src * place * 7 * src_mask).sum(1) % self.CONTEXTS)

    def step(self, tokens: Tensor, state: ToyState) -> Tensor:
        assert tokens.shape == state.context.shape
        self.rows.append(len(tokens))
        state.context = (state.context * 31 + tokens * 97 + 1) % self.CONTEXTS
        return self.table[state.context].clone()


@pytest.fixture
def toy_model() -> type[ToyModel]:
    return ToyModel
