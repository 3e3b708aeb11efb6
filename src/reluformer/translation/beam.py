"""One step of the beam search with shapes that never change and nothing that the host waits for, all in place.

The rules are those of `search`, sentence by sentence; `fixed` runs the steps.

Shapes: N places for sentences, W the beam, V vocabulary, T tokens of a hypothesis at most, n the best that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.translation.search import Continuations, top


class Room(Protocol):
    """The caches of a decoder with fixed shapes, all changed in place."""

    @property
    def nbytes(self) -> int:
        """The memory that they take."""

    def narrow(self, sources: int, capacity: int) -> Room:
        """The first sources and the room for the first tokens of a target, in the same memory."""

    def move(self, to: Tensor, origin: Tensor) -> None:
        """Puts the sources `origin` [m] in the places `to` [m], which are none of them."""

    def reorder(self, rows: Tensor) -> None:
        """Row w of a source becomes its present row `rows[:, w]`; int [N, W]."""


R = TypeVar("R", bound=Room)


class FixedDecoder(Protocol[R]):
    """What the search needs of a model."""

    def room(self, sources: int, width: int, source_tokens: int, capacity: int) -> R:
        """Room for so many sources, rows of each, tokens of a source and of a target, BOS included."""

    def fill(self, state: R, src: Tensor, src_mask: Tensor) -> None:
        """Encodes `src` [B, S], no more than there is room for, and begins anew with it."""

    def step(self, tokens: Tensor, state: R) -> Tensor:
        """Appends `tokens` [N·W] to the rows; logits [N·W, V] of the token after them."""


@dataclass(eq=False)
class Beam:
    """What the search knows, in tensors that are changed in place.

    t: no dimensions, tokens produced. alive: [N], whether a sentence is still searched; sentence: [N], which source it
    is, the last row of `best_*` where there is none. limits, finished: [N], its length limit, its hypotheses that have
    ended. scores, last: [N, W], Σ log p and the newest token of its live hypotheses; -inf where there are fewer.
    tokens: [N, W, T]. best_score, best_length: [sources + 1, n], sorted, -inf where fewer have finished; best_tokens:
    [sources + 1, n, T]. status: [2], how many sentences are alive, and whether a prediction of theirs was no number.
    """

    t: Tensor
    alive: Tensor
    sentence: Tensor
    limits: Tensor
    finished: Tensor
    scores: Tensor
    last: Tensor
    tokens: Tensor
    best_score: Tensor
    best_length: Tensor
    best_tokens: Tensor
    status: Tensor

    @classmethod
    def empty(cls, sources: int, width: int, capacity: int, n_best: int, device: torch.device) -> Beam:
        """Room for so many."""

        def room(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return cls(
            t=room(),
            alive=room(sources, dtype=torch.bool),
            sentence=room(sources),
            limits=room(sources),
            finished=room(sources),
            scores=room(sources, width, dtype=torch.float32),
            last=room(sources, width),
            tokens=room(sources, width, capacity),
            best_score=room(sources + 1, n_best, dtype=torch.float32),
            best_length=room(sources + 1, n_best),
            best_tokens=room(sources + 1, n_best, capacity),
            status=room(2),
        )

    def fill(self, limits: Tensor) -> None:
        """Begins anew with sources of these length limits, int [B <= N]; one hypothesis of each, that of no token."""
        sources = len(limits)
        for zero in (self.t, self.finished, self.limits, self.tokens, self.best_length, self.best_tokens):
            zero.zero_()
        self.limits[:sources] = limits
        self.last.fill_(BOS)
        self.scores.fill_(-torch.inf)
        self.scores[:, 0].zero_()
        self.best_score.fill_(-torch.inf)
        torch.arange(len(self.alive), out=self.sentence)
        self._end(sources)

    def narrow(self, sources: int, capacity: int) -> Beam:
        """The first sentences, and the room for the first tokens, in the same memory."""
        of_sentences = ("alive", "sentence", "limits", "finished", "scores", "last")
        return replace(
            self,
            **{name: getattr(self, name)[:sources] for name in of_sentences},
            tokens=self.tokens[:sources, :, :capacity],
            best_tokens=self.best_tokens[:, :, :capacity],
        )

    def move(self, to: Tensor, origin: Tensor, alive: int) -> None:
        """Puts the sentences `origin` [m] in the places `to` [m]; the first `alive` are those that live on then."""
        for held in (self.sentence, self.limits, self.finished, self.scores, self.last, self.tokens):
            held[to] = held[origin]
        self._end(alive)

    def _end(self, alive: int) -> None:
        self.alive[:alive].fill_(True)
        self.alive[alive:].fill_(False)
        self.sentence[alive:].fill_(len(self.best_score) - 1)


class Options(NamedTuple):
    """All continuations of a step: the best ones, and [N] whether all predictions of a sentence are numbers."""

    best: Continuations
    sound: Tensor


def search_step(model: FixedDecoder[R], state: R, beam: Beam, length_penalty: float) -> None:
    """Every hypothesis goes on by one token; those that end are kept if they are good enough."""
    width, n_best = beam.scores.size(1), beam.best_score.size(1)
    last_step = beam.limits == beam.t
    (value, parent, token), sound = _continuations(model.step(beam.last.flatten(), state), beam, last_step)
    broken = (beam.alive & ~sound).any()
    ends = token == EOS

    ending = ((ends & value.isfinite()) & beam.alive[:, None])[:, :width]
    ended = value[:, :width].masked_fill(~ending, -torch.inf) / (beam.t + 1) ** length_penalty
    merged = torch.cat([beam.best_score[beam.sentence], ended], 1)
    # a stable sort, so that of equal scores the one that ended first stays first
    at = merged.argsort(dim=1, descending=True, stable=True)[:, :n_best]
    best_score = merged.gather(1, at)
    lengths = torch.cat([beam.best_length[beam.sentence], beam.t.expand_as(ended)], 1)
    candidates = torch.cat([beam.best_tokens[beam.sentence], _rows(beam.tokens, parent[:, :width])], 1)
    beam.best_score.index_copy_(0, beam.sentence, best_score)
    beam.best_length.index_copy_(0, beam.sentence, lengths.gather(1, at))
    beam.best_tokens.index_copy_(0, beam.sentence, _rows(candidates, at))
    beam.finished += ending.sum(1)

    # `value` is sorted, so a stable sort by "ends" puts the best that live on first
    live = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    beam.scores.copy_(value.gather(1, live).masked_fill(ends.gather(1, live), -torch.inf))
    hope = beam.scores[:, 0] / (beam.limits + 1) ** length_penalty
    beam.alive &= ~(last_step | (beam.finished >= width) | (best_score[:, -1] >= hope))
    rows = parent.gather(1, live)
    beam.last.copy_(token.gather(1, live))
    beam.tokens.copy_(_rows(beam.tokens, rows))
    beam.tokens.index_copy_(2, beam.t[None], beam.last[..., None])
    state.reorder(rows)
    beam.t += 1
    beam.status.copy_(torch.stack([beam.alive.sum(), broken]))


def _continuations(logits: Tensor, beam: Beam, last_step: Tensor) -> Options:
    """The 2·W best allowed continuations of each sentence (all, where there are fewer); see `search`."""
    sentences, width = beam.scores.shape
    log_p = logits.float().log_softmax(-1)
    end = log_p[:, EOS].clone()
    for never in (PAD, BOS):
        log_p[:, never].fill_(-torch.inf)
    log_p[:, EOS].masked_fill_(beam.t == 0, -torch.inf)
    of_row, of_row_token = top(log_p, min(2 * width, log_p.size(1)))
    # a row with NaN or +inf has no finite log-probability at all, any other row has at least one
    sound = of_row[:, 0].isfinite().view(sentences, width).all(1)
    options = (of_row.view(sentences, width, -1) + beam.scores[..., None]).flatten(1)
    value, at = options.topk(min(2 * width, options.size(1)), dim=1)
    parent, token = at // of_row.size(1), of_row_token.view_as(options).gather(1, at)

    ending, order = (end.view(sentences, width) + beam.scores).sort(1, descending=True)
    rest, last = (0, value.size(1) - width), last_step[:, None]
    value = torch.where(last, pad(ending, rest, value=-torch.inf), value)
    parent = torch.where(last, pad(order, rest), parent)
    return Options(Continuations(value, parent, token.masked_fill(last, EOS)), sound)


def _rows(tokens: Tensor, rows: Tensor) -> Tensor:
    """Some hypotheses of each sentence: tokens [N, W, T], rows int [N, W'] -> [N, W', T]."""
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.size(2)))
