"""One step of the beam search with fixed shapes, in place and without waiting for the device.

The rules are those of `search`; `graphs` runs the steps.

Shapes: N places for sentences, W the beam, T tokens of a hypothesis at most, n hypotheses returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reluformer.corpus.subword import BOS
from reluformer.model.caches import StaticCache
from reluformer.model.transformer import Transformer
from reluformer.translation.search import NBest, best_continuations, best_of_rows, decide, done, end_all, of_sentence


@dataclass(eq=False)
class Beam:
    """The state of a search, changed in place.

    t: scalar, tokens produced. alive: [N], whether a place's sentence is still searched; sentence: [N], which source it
    is, the last row of `best` if there is none. limits, finished: [N], its length limit, its hypotheses that have
    ended. scores, last: [N, W], Σ log p and the newest token of its live hypotheses; -inf where there are fewer.
    tokens: [N, W, T]. best: of N + 1 sources. status: [2], how many sentences are alive, and whether the model
    predicted NaN or infinity for one of them.
    """

    t: Tensor
    alive: Tensor
    sentence: Tensor
    limits: Tensor
    finished: Tensor
    scores: Tensor
    last: Tensor
    tokens: Tensor
    best: NBest
    status: Tensor

    @classmethod
    def empty(cls, sources: int, width: int, capacity: int, n_best: int, device: torch.device) -> Beam:
        """Allocates for this many sources, hypotheses of each, and tokens."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return cls(
            t=zeros(),
            alive=zeros(sources, dtype=torch.bool),
            sentence=zeros(sources),
            limits=zeros(sources),
            finished=zeros(sources),
            scores=zeros(sources, width, dtype=torch.float32),
            last=zeros(sources, width),
            tokens=zeros(sources, width, capacity),
            best=NBest.empty(sources + 1, n_best, capacity, device),
            status=zeros(2),
        )

    def fill(self, limits: Tensor) -> None:
        """Starts over with sources of these length limits, int [B <= N], each with the hypothesis of no token."""
        sources = len(limits)
        for tensor in (self.t, self.finished, self.limits, self.tokens, self.best.length, self.best.tokens):
            tensor.zero_()
        self.limits[:sources] = limits
        self.last.fill_(BOS)
        self.scores.fill_(-torch.inf)
        self.scores[:, 0].zero_()
        self.best.score.fill_(-torch.inf)
        torch.arange(len(self.alive), out=self.sentence)
        self._end(sources)

    def narrow(self, sources: int, capacity: int) -> Beam:
        """Returns a view of the first places and of the first `capacity` tokens."""
        by_place = ("alive", "sentence", "limits", "finished", "scores", "last")
        return replace(
            self,
            **{name: getattr(self, name)[:sources] for name in by_place},
            tokens=self.tokens[:sources, :, :capacity],
            best=replace(self.best, tokens=self.best.tokens[:, :, :capacity]),
        )

    def move(self, to: Tensor, origin: Tensor, alive: int) -> None:
        """Copies the sentences `origin` [m] to the places `to` [m]; then the first `alive` places are alive."""
        for tensor in (self.sentence, self.limits, self.finished, self.scores, self.last, self.tokens):
            tensor[to] = tensor[origin]
        self._end(alive)

    def _end(self, alive: int) -> None:
        self.alive[:alive].fill_(True)
        self.alive[alive:].fill_(False)
        self.sentence[alive:].fill_(len(self.best.score) - 1)


def search_step(model: Transformer, cache: StaticCache, beam: Beam, length_penalty: float) -> None:
    """Adds a token to every hypothesis; those that end are stored if they are among the best."""
    sentences, width = beam.scores.shape
    rows = best_of_rows(model.step(beam.last.flatten(), cache), 2 * width, beam.t == 0)
    sound = rows.value[:, 0].isfinite().view(sentences, width).all(1)
    broken = (beam.alive & ~sound).any()
    continuations = best_continuations(rows, beam.scores, 2 * width)
    continuations = end_all(continuations, rows.end, beam.scores, beam.limits == beam.t)
    step = decide(continuations, width, beam.t, length_penalty)

    ended = step.ended.masked_fill(~beam.alive[:, None], -torch.inf)
    beam.best.add(beam.sentence, ended, of_sentence(beam.tokens, continuations.parent[:, :width]), beam.t)
    beam.finished += step.ending
    worst = beam.best.score[beam.sentence, -1]
    beam.alive &= ~done(step, beam.finished, worst, beam.t, beam.limits, width, length_penalty)

    beam.scores.copy_(step.scores)
    beam.last.copy_(step.token)
    beam.tokens.copy_(of_sentence(beam.tokens, step.parent))
    beam.tokens.index_copy_(2, beam.t[None], beam.last[..., None])
    cache.reorder(step.parent)
    beam.t += 1
    beam.status.copy_(torch.stack([beam.alive.sum(), broken]))
