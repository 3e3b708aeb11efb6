"""Beam search with shapes that never change, so that on a GPU a step is one CUDA graph and the host waits once for it.

A batch is put into a room whose sizes are rounded up, and what was captured in a room serves every later batch that it
fits. As sentences end, those that live on move together, and the steps go on in a smaller part of the room; as
hypotheses grow, in a longer one. All parts lie in the room's memory, so that neither copies what is not moved. The
results are those of `search.n_best_search`, but for rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from math import isfinite
from typing import Any, Generic, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from reluformer.config.translation import TranslationConfig
from reluformer.translation.beam import Beam, FixedDecoder, R, search_step
from reluformer.translation.graphs import Graph, GraphCapture, recorder
from reluformer.translation.search import BrokenModelError, Hypothesis, few_moves, length_limits

SOURCES, SOURCE_TOKENS, CAPACITY = 8, 16, 32
"""The smallest sizes of a room; all are multiples of 4."""
ROOMS, BYTES = 32, 4 << 30
"""Rooms that a model keeps, and the memory of their keys and values; the one in use is always kept."""


def size(number: int, least: int) -> int:
    """`number` rounded up to `least`, or to 1.5 or 2 times `least` times a power of two."""
    found = least
    while found < number:
        found *= 2
    return found // 4 * 3 if found > least and number <= found // 4 * 3 else found


class Sizes(NamedTuple):
    """The sizes of a room, and what else its steps are made for."""

    sources: int
    source_tokens: int
    capacity: int
    width: int
    length_penalty: float
    n_best: int

    @classmethod
    def of(cls, src: Tensor, longest: int, config: TranslationConfig, n_best: int) -> Sizes:
        """Those for sources [B, S] and hypotheses of `longest` tokens, BOS and EOS apart."""
        rounded = size(len(src), SOURCES), size(src.size(1), SOURCE_TOKENS), size(longest + 1, CAPACITY)
        return cls(*rounded, config.beam, config.length_penalty, n_best)


class Part(NamedTuple):
    """A part of a room, and its step."""

    state: Any
    beam: Beam
    graph: Graph


class Room(Generic[R]):
    """The caches of a model and of the search, of fixed sizes, and the steps captured in them."""

    def __init__(
        self, model: FixedDecoder[R], sizes: Sizes, device: torch.device, recorder: GraphCapture | None
    ) -> None:
        self.sizes = sizes
        self.state = model.room(sizes.sources, sizes.width, sizes.source_tokens, sizes.capacity)
        self.beam = Beam.empty(sizes.sources, sizes.width, sizes.capacity, sizes.n_best, device)
        self.recorder = recorder
        self.parts: dict[tuple[int, int], Part] = {}

    def part(self, sources: int, capacity: int) -> Part:
        """The part for the first sources and tokens."""
        if (sources, capacity) not in self.parts:
            state, beam = self.state.narrow(sources, capacity), self.beam.narrow(sources, capacity)
            self.parts[sources, capacity] = Part(state, beam, Graph(self.recorder))
        return self.parts[sources, capacity]


class Rooms:
    """The rooms of one model, those used last. Captured steps read its weights where they lay when they were captured.

    recorder: how steps are captured; none: they are called.
    """

    def __init__(self, device: torch.device, recorder: GraphCapture | None) -> None:
        self.device = device
        self.recorder = recorder
        self.kept: OrderedDict[Sizes, Room] = OrderedDict()

    def room(self, model: FixedDecoder, sizes: Sizes) -> Room:
        """The room of these sizes, made if there is none; the model is that of all other calls."""
        room = self.kept.pop(sizes, None) or Room(model, sizes, self.device, self.recorder)
        self.kept[sizes] = room
        while len(self.kept) > 1 and (len(self.kept) > ROOMS or self.nbytes > BYTES):
            self.kept.popitem(last=False)
        return room

    @property
    def nbytes(self) -> int:
        """The memory of all keys and values."""
        return sum(room.state.nbytes for room in self.kept.values())


_ROOMS: WeakKeyDictionary[FixedDecoder, tuple[tuple[int, ...], Rooms]] = WeakKeyDictionary()


def rooms_of(model: FixedDecoder, device: torch.device) -> Rooms:
    """The rooms of a model on a device, kept as long as the model; new ones once its weights lie elsewhere."""
    weights = tuple(weight.data_ptr() for weight in model.parameters()) if isinstance(model, nn.Module) else ()
    known = _ROOMS.get(model)
    if known is None or known[0] != weights or known[1].device != device:
        _ROOMS[model] = known = weights, Rooms(device, recorder(device))
    return known[1]


@torch.inference_mode()
def fixed_search(
    model: FixedDecoder[R], src: Tensor, src_mask: Tensor, config: TranslationConfig, n_best: int, rooms: Rooms
) -> list[list[Hypothesis]]:
    """What `search.n_best_search` gives, with its arguments and errors; rooms: those of the model."""
    limits = length_limits(src_mask.sum(1) - 1, config)
    sizes = Sizes.of(src, int(limits.max()), config, n_best)
    room = rooms.room(model, sizes)
    model.fill(room.state, src, src_mask)
    room.beam.fill(limits)
    t, alive, sources = 0, len(src), sizes.sources
    while alive:
        t += 1
        part = room.part(sources, size(t, CAPACITY))
        part.graph(partial(search_step, model, part.state, part.beam, config.length_penalty))
        alive, broken = part.beam.status.tolist()
        if broken:
            raise BrokenModelError("the model predicts NaN or infinity: its weights are broken, train it again")
        if alive and (fewer := size(alive, SOURCES)) * 2 <= sources:
            _together(part, alive)
            sources = fewer
    best = (held[: len(src)].cpu() for held in (room.beam.best_tokens, room.beam.best_length, room.beam.best_score))
    tokens, lengths, scores = best
    found = zip(tokens.numpy(), lengths.tolist(), scores.tolist(), strict=True)
    return [
        [Hypothesis(ids[:n].copy(), score) for ids, n, score in zip(*each, strict=True) if isfinite(score)]
        for each in found
    ]


def _together(part: Part, alive: int) -> None:
    """Moves the sentences that live on to the first places."""
    order = few_moves(part.beam.alive)
    to = (order != torch.arange(alive, device=order.device)).nonzero().flatten()
    part.state.move(to, order[to])
    part.beam.move(to, order[to], alive)
