"""Batches by number of target tokens, with little padding, the same on every machine.

An epoch is a permutation of the corpus, cut into windows of a few hundred batches. A window is sorted and halved
recursively, each time by the side that leaves less padding, until each group fills a batch: unlike after sorting by one
side, the sequences of a batch are alike in *both* lengths. All choices depend on (seed, epoch) alone, so every rank
computes the whole plan and takes its part of each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from reluformer.corpus import CorpusError
from reluformer.corpus.store import SIDES, Sequences, Store
from reluformer.corpus.subword import BOS, EOS, PAD

Indices = NDArray[np.int64]


Array = TypeVar("Array")
Mapped = TypeVar("Mapped")


class Batch(NamedTuple, Generic[Array]):
    """Right-padded ids and masks, as arrays or tensors. B sequences, S source and T target tokens with EOS.

    The fields are the arguments of `Objective.forward`.
    """

    src: Array  # int64 [B, S], ends with EOS
    src_mask: Array  # bool [B, S], true on real tokens
    tgt_in: Array  # int64 [B, T], BOS first
    tgt_out: Array  # int64 [B, T], EOS last
    tgt_mask: Array  # bool [B, T]
    real: Array  # int64 [N], the positions of the real target tokens in B·T

    def map(self, function: Callable[[Array], Mapped]) -> Batch[Mapped]:
        """Applies `function` to each field."""
        return Batch(*map(function, self))


class Update(NamedTuple):
    """One optimizer update: this rank's sequences, an array for each accumulation step."""

    micro: list[Indices]
    target_tokens: int  # of the whole global batch, EOS included
    epoch: int


class BatchSampler:
    """An endless iterator of `Update`; its state can be saved and restored in the middle of an epoch.

    Args:
        src_lengths, tgt_lengths: tokens of each sequence without EOS.
        batch_tokens: most target tokens (EOS included) of a global batch; a longer sequence is its own batch.
        seed: of the permutations.
        rank, world_size: this process and the number of processes.
        accumulation: steps of an update.
        window: about how many batches are sorted at once; more means less padding and less variety between neighbours.

    The global batches are the same for every `world_size * accumulation`, but batches with fewer sequences than parts
    are merged, so that no part is empty.
    """

    def __init__(
        self,
        src_lengths: NDArray[np.integer],
        tgt_lengths: NDArray[np.integer],
        *,
        batch_tokens: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        window: int = 512,
    ) -> None:
        self._parts = world_size * accumulation
        if len(tgt_lengths) < self._parts:
            raise CorpusError(
                f"{len(tgt_lengths)} training sequences: too few for {world_size} processes x {accumulation} steps"
            )
        self._src = np.asarray(src_lengths, np.int64) + 1
        self._tgt = np.asarray(tgt_lengths, np.int64) + 1
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._rank = rank
        self._accumulation = accumulation
        self._window_tokens = window * batch_tokens
        self._epoch = 0
        self._next = 0  # updates of this epoch already returned
        self._plan: Iterator[Indices] | None = None

    def __iter__(self) -> BatchSampler:
        return self

    def __next__(self) -> Update:
        if self._plan is None:
            self._plan = self.epoch_batches(self._epoch)
            for _ in range(self._next):
                next(self._plan)
        batch = next(self._plan, None)
        if batch is None:
            self._epoch, self._next, self._plan = self._epoch + 1, 0, None
            return next(self)
        self._next += 1
        parts = self._deal(batch)
        mine = parts[self._rank * self._accumulation : (self._rank + 1) * self._accumulation]
        return Update(mine, int(self._tgt[batch].sum()), self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the next update."""
        return {"epoch": self._epoch, "next": self._next, "seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from `state_dict`, with any number of processes."""
        if state["seed"] != self._seed:
            raise CorpusError(f"the saved batches have seed {state['seed']}, this run has {self._seed}")
        self._epoch, self._next, self._plan = int(state["epoch"]), int(state["next"]), None

    def epoch_batches(self, epoch: int) -> Iterator[Indices]:
        """Returns the global batches of an epoch in order; each sequence is in exactly one."""
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._tgt))
        ends = np.cumsum(self._tgt[order])
        # Windows of equal size: batches of a small rest would be of very different lengths, and mostly padding.
        windows = max(1, round(int(ends[-1]) / self._window_tokens))
        window_of = (ends - 1) * windows // ends[-1]
        held: Indices | None = None
        for members in np.split(order, np.flatnonzero(np.diff(window_of)) + 1):
            tokens = self._tgt[members]
            # Batches are filled up to a sequence or two: cuts between sequences would leave some half empty.
            capacity = max(self._batch_tokens - 2 * tokens.mean(), self._batch_tokens / 2)
            groups = list(self._groups(members, int(-(-tokens.sum() // capacity))))
            for i in rng.permutation(len(groups)):
                batch = groups[i] if held is None else np.concatenate([held, groups[i]])
                held = None
                if len(batch) < self._parts:
                    held = batch
                    continue
                yield batch
        if held is not None:
            # Too few sequences for every part at the end of an epoch: earlier ones fill the batch.
            rest = np.setdiff1d(order, held, assume_unique=True)
            yield np.concatenate([held, rest[: self._parts - len(held)]])

    def _groups(self, members: Indices, batches: int) -> Iterator[Indices]:
        """Splits sequences into about `batches` batches, each time by the side that leaves less padding."""
        if len(members) == 1 or (batches == 1 and self._tgt[members].sum() <= self._batch_tokens):
            yield members
            return
        batches = max(batches, 2)
        share = batches // 2 / batches
        src, tgt = self._src[members], self._tgt[members]
        orders = (
            np.lexsort((members, src, tgt)),
            np.lexsort((members, tgt, src)),
        )  # by target, by source, then by number
        cuts = [self._cut(members[order], share) for order in orders]
        one, other = min(cuts, key=lambda cut: sum(map(self._padded, cut)))
        yield from self._groups(one, batches // 2)
        yield from self._groups(other, batches - batches // 2)

    def _cut(self, members: Indices, share: float) -> tuple[Indices, Indices]:
        """Cuts at `share` of the target tokens; neither part is empty."""
        ends = np.cumsum(self._tgt[members])
        at = int(np.searchsorted(ends, share * ends[-1], side="right"))
        at = min(max(at, 1), len(members) - 1)
        return members[:at], members[at:]

    def _padded(self, members: Indices) -> int:
        """Returns the tokens of these sequences as one batch, padding included."""
        return len(members) * int(self._src[members].max() + self._tgt[members].max())

    def _deal(self, batch: Indices) -> list[Indices]:
        """Splits a batch into contiguous parts of about equal tokens, none empty."""
        if self._parts == 1:
            return [batch]
        batch = batch[np.lexsort((batch, self._src[batch], self._tgt[batch]))]
        ends = np.cumsum(self._tgt[batch] + self._src[batch])
        targets = ends[-1] * np.arange(1, self._parts) / self._parts
        cuts = np.searchsorted(ends, targets, side="left") + 1
        for part in range(len(cuts)):  # at least one sequence before, between and after the cuts
            low = cuts[part - 1] + 1 if part else 1
            cuts[part] = min(max(cuts[part], low), len(batch) - (len(cuts) - part))
        return np.split(batch, cuts)


def length_batches(order: Indices, lengths: NDArray[np.integer], padded_tokens: int) -> Iterator[Indices]:
    """Cuts sequences sorted by length, ascending or descending, into batches of similar lengths.

    Args:
        order: indices of the sequences.
        lengths: tokens of every sequence.
        padded_tokens: maximum tokens of a batch, padding included; a longer sequence is its own batch.
    """
    first, longest = 0, 0
    for last, length in enumerate(lengths[order].tolist()):
        if last > first and max(longest, length) * (last + 1 - first) > padded_tokens:
            yield order[first:last]
            first, longest = last, 0
        longest = max(longest, length)
    if first < len(order):
        yield order[first:]


def collate(store: Store, indices: Indices | list[int]) -> Batch[NDArray]:
    """Returns the sequences `indices` of a store as one padded batch."""
    src, tgt = (store.several(side, np.asarray(indices, np.int64)) for side in SIDES)
    return pad(src, tgt)


def pad(src: Sequences, tgt: Sequences) -> Batch[NDArray]:
    """Returns pairs of sequences as one padded batch with BOS and EOS."""
    src_ids, src_mask = _rows(src)
    tgt_out, tgt_mask = _rows(tgt)
    tgt_in = np.full_like(tgt_out, BOS)
    tgt_in[:, 1:] = np.where(tgt_mask[:, 1:], tgt_out[:, :-1], PAD)
    return Batch(src_ids, src_mask, tgt_in, tgt_out, tgt_mask, np.flatnonzero(tgt_mask))


def _rows(sequences: Sequences) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns sequences as rows that end with EOS and padding, and their mask."""
    lengths = sequences.lengths[:, None]
    positions = np.arange(int(lengths.max()) + 1)
    ids = np.full((len(lengths), len(positions)), PAD, np.int64)
    ids[positions < lengths] = sequences.ids
    ids[positions == lengths] = EOS
    return ids, positions <= lengths
