"""Beam search over a batch of sources, with key-value caches, shared by all systems.

The rules are fairseq's. A hypothesis scores `Σ log p / length ** length_penalty`, its EOS counted in both. Of the best
2·beam continuations of a sentence, those that end and are among the first `beam` finish, and the best `beam` that do
not end live on. A translation has at least one token. A sentence is done when `beam` hypotheses have finished, when
it reaches its length limit, or (without changing any result) as soon as no live hypothesis can still beat the last of
the n best finished ones. A beam of 1 is therefore greedy decoding, and a beam as large as the search space is exact.

`n_best_search` implements these rules with dynamic shapes; `graphs` with fixed shapes, for CUDA graphs.

Shapes: N sentences still being searched, W live hypotheses of each (1 at the first step, then the beam), V vocabulary,
t tokens produced so far, k continuations, n hypotheses returned, T maximum tokens of a hypothesis. Rows of the model's
cache are [N·W], the hypotheses of a sentence next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.model.caches import DynamicCache
from reluformer.ops.beam import best_tokens, has_kernel

CHUNK = 64  # entries per maximum in `top`; about as fast as 32 and faster than 16 or 128 at a vocabulary of 4,000


class BrokenModelError(SettingsError):
    """The model predicts NaN or infinity."""

    def __init__(self) -> None:
        super().__init__("the model predicts NaN or infinity: its weights are broken, train it again")


class Decoder(Protocol):
    """The methods of a model that the search calls; see `Transformer`."""

    def start(self, src: Tensor, src_mask: Tensor) -> DynamicCache:
        """Encodes `src` [B, S] and returns a cache with a row for each source."""

    def step(self, tokens: Tensor, cache: DynamicCache) -> Tensor:
        """Appends `tokens` [R] to the rows; returns the logits [R, V] of the next tokens."""


class Hypothesis(NamedTuple):
    """A translation: target tokens without BOS and EOS, and its length-normalised log-probability (nats)."""

    tokens: np.ndarray
    score: float


class RowBest(NamedTuple):
    """For each row of logits: log p of EOS [R]; log p and tokens of the best allowed continuations [R, k], sorted.

    A row with NaN or +inf has no finite log p at all; any other row has at least one.
    """

    end: Tensor
    value: Tensor
    token: Tensor


class Continuations(NamedTuple):
    """The best continuations of each sentence [N, k], sorted: Σ log p, index of the parent hypothesis, token."""

    value: Tensor
    parent: Tensor
    token: Tensor


class Step(NamedTuple):
    """The outcome of a step for each sentence.

    ended: [N, W], scores of the hypotheses that finish, -inf for the others. ending: [N], how many finish.
    scores, parent, token: [N, W], the hypotheses that live on, as in `Continuations`; scores -inf if there are fewer.
    """

    ended: Tensor
    ending: Tensor
    scores: Tensor
    parent: Tensor
    token: Tensor


@dataclass(eq=False)
class NBest:
    """The n best finished hypotheses of each source, updated in place.

    score, length: [sources, n], sorted; score -inf if fewer have finished. tokens: [sources, n, T].
    """

    score: Tensor
    length: Tensor
    tokens: Tensor

    @classmethod
    def empty(cls, sources: int, n_best: int, capacity: int, device: torch.device) -> NBest:
        """Allocates room for hypotheses of up to `capacity` tokens."""
        score = torch.full((sources, n_best), -torch.inf, device=device)
        length = torch.zeros(score.shape, dtype=torch.long, device=device)
        return cls(score, length, torch.zeros((*score.shape, capacity), dtype=torch.long, device=device))

    def add(self, source: Tensor, score: Tensor, tokens: Tensor, t: int | Tensor) -> None:
        """Adds hypotheses of `t` tokens to sources [M]: scores [M, W] (-inf for none) and tokens [M, W, T]."""
        merged = torch.cat([self.score[source], score], 1)
        # a stable sort: of equal scores, the one that finished first stays first
        best = merged.argsort(dim=1, descending=True, stable=True)[:, : self.score.size(1)]
        lengths = torch.cat([self.length[source], torch.zeros_like(score, dtype=torch.long) + t], 1)
        candidates = torch.cat([self.tokens[source], tokens], 1)
        self.score.index_copy_(0, source, merged.gather(1, best))
        self.length.index_copy_(0, source, lengths.gather(1, best))
        self.tokens.index_copy_(0, source, of_sentence(candidates, best))

    def hypotheses(self, sources: int) -> list[list[Hypothesis]]:
        """Returns the hypotheses of the first `sources`, best first; waits for the device."""
        tokens, lengths, scores = (tensor[:sources].cpu() for tensor in (self.tokens, self.length, self.score))
        by_source = zip(tokens.numpy(), lengths.tolist(), scores.tolist(), strict=True)
        return [
            [Hypothesis(ids[:n].copy(), score) for ids, n, score in zip(*source, strict=True) if isfinite(score)]
            for source in by_source
        ]


def length_limits(lengths: Tensor, config: TranslationConfig) -> Tensor:
    """Returns the maximum tokens of a hypothesis, without EOS, for sources of `lengths` tokens; at least 1."""
    return (lengths * config.max_ratio + config.max_extra).long().clamp_min(1)


@torch.inference_mode()
def n_best_search(
    model: Decoder, src: Tensor, src_mask: Tensor, config: TranslationConfig, n_best: int
) -> list[list[Hypothesis]]:
    """Returns the `n_best` best finished hypotheses for each source, best first; fewer if fewer finished.

    Args:
        model: in evaluation mode.
        src: [B, S] token ids, each source ending in EOS, right-padded.
        src_mask: [B, S] bool, true at real tokens.
        config: beam, length penalty, length limits.
        n_best: n, at most the beam.

    Raises:
        BrokenModelError: the model predicts NaN or infinity.
    """
    device, batch = src.device, len(src)
    limits = length_limits(src_mask.sum(1) - 1, config)
    capacity = int(limits.max())
    best = NBest.empty(batch, n_best, capacity, device)
    sentence = torch.arange(batch, device=device)  # [N] index of each sentence's source
    finished = torch.zeros_like(sentence)  # [N] number of its finished hypotheses
    scores = torch.zeros((batch, 1), device=device)  # [N, W] Σ log p of its live hypotheses
    tokens = torch.empty((batch, 0), dtype=torch.long, device=device)  # [N·W, t]
    last = torch.full((batch,), BOS, device=device)  # [N·W]
    cache = model.start(src, src_mask)
    for t in range(capacity + 1):
        rows = _best_by_kernel(model.step(last, cache), 2 * config.beam, first=t == 0)
        if not rows.value[:, 0].isfinite().all():
            raise BrokenModelError
        last_step = limits == t
        continuations = best_continuations(rows, scores, 2 * config.beam)
        if last_step.any():
            continuations = end_all(continuations, rows.end, scores, last_step)
        step = decide(continuations, config.beam, t, config.length_penalty)
        better = (step.ended.amax(1) > best.score[sentence, -1]).nonzero().flatten()  # of N
        if len(better):
            parents = better[:, None] * scores.shape[1] + continuations.parent[better, : config.beam]
            best.add(sentence[better], step.ended[better], pad(tokens[parents], (0, capacity - t)), t)
        finished = finished + step.ending
        keep = few_moves(~done(step, finished, best.score[sentence, -1], t, limits, config.beam, config.length_penalty))
        if not len(keep):
            break
        parents = (keep[:, None] * scores.shape[1] + step.parent[keep]).flatten()
        last = step.token[keep].flatten()
        tokens = torch.cat([tokens[parents], last[:, None]], 1)
        sentence, finished, scores, limits = sentence[keep], finished[keep], step.scores[keep], limits[keep]
        cache.select(parents)
    return best.hypotheses(batch)


def best_continuations(rows: RowBest, scores: Tensor, k: int) -> Continuations:
    """Returns the k best continuations of each sentence, all if there are fewer; scores: [N, W] of its hypotheses."""
    options = (rows.value.view(*scores.shape, -1) + scores[..., None]).flatten(1)
    value, at = options.topk(min(k, options.size(1)), dim=1)
    return Continuations(value, at // rows.value.size(1), rows.token.view_as(options).gather(1, at))


def end_all(continuations: Continuations, end: Tensor, scores: Tensor, last_step: Tensor) -> Continuations:
    """Ends every hypothesis of the sentences at their length limit, `last_step` [N]: replaces continuations by EOS."""
    value, order = (end.view_as(scores) + scores).sort(1, descending=True)
    rest, last = (0, continuations.value.size(1) - scores.size(1)), last_step[:, None]
    return Continuations(
        torch.where(last, pad(value, rest, value=-torch.inf), continuations.value),
        torch.where(last, pad(order, rest), continuations.parent),
        continuations.token.masked_fill(last, EOS),
    )


def decide(continuations: Continuations, beam: int, t: int | Tensor, length_penalty: float) -> Step:
    """Decides which hypotheses finish with `t` tokens and which live on."""
    value, parent, token = continuations
    ends = token == EOS
    ending = (ends & value.isfinite())[:, :beam]
    ended = value[:, :beam].masked_fill(~ending, -torch.inf) / (t + 1) ** length_penalty
    # `value` is sorted, so a stable sort by "ends" puts the best that live on first
    live = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :beam]
    scores = value.gather(1, live).masked_fill(ends.gather(1, live), -torch.inf)
    return Step(ended, ending.sum(1), scores, parent.gather(1, live), token.gather(1, live))


def done(
    step: Step, finished: Tensor, worst: Tensor, t: int | Tensor, limits: Tensor, beam: int, length_penalty: float
) -> Tensor:
    """Returns whether each sentence is done, bool [N]; worst: [N], the score of its n-th best finished hypothesis."""
    best_attainable = step.scores[:, 0] / (limits + 1) ** length_penalty
    return (limits == t) | (finished >= beam) | (worst >= best_attainable)


def best_of_rows(logits: Tensor, k: int, first: bool | Tensor) -> RowBest:
    """Returns the k best allowed continuations of each row of logits [R, V]; `first`: at the first step."""
    log_p = logits.float().log_softmax(-1)
    end = log_p[:, EOS].clone()
    for never in (PAD, BOS):
        log_p[:, never].fill_(-torch.inf)
    if isinstance(first, Tensor):
        log_p[:, EOS].masked_fill_(first, -torch.inf)
    elif first:
        log_p[:, EOS].fill_(-torch.inf)
    return RowBest(end, *top(log_p, min(k, log_p.size(1))))


def _best_by_kernel(logits: Tensor, k: int, first: bool) -> RowBest:
    """Same as `best_of_rows`, by the C++ kernel if it is available."""
    if not has_kernel(logits):
        return best_of_rows(logits, k, first)
    banned = [PAD, BOS, EOS] if first else [PAD, BOS]
    return RowBest(*best_tokens(logits, min(k, logits.size(1)), EOS, banned))


def of_sentence(tokens: Tensor, rows: Tensor) -> Tensor:
    """Selects hypotheses of each sentence: tokens [N, W, T], rows int [N, W'] -> [N, W', T]."""
    return tokens.gather(1, rows[..., None].expand(-1, -1, tokens.size(2)))


def few_moves(alive: Tensor) -> Tensor:
    """Returns the indices of the true entries of `alive` [N], in the order that moves the fewest when compacting.

    Entries beyond their number fill the places of the false ones before; all others stay where they are.
    """
    indices = alive.nonzero().flatten()
    order = torch.arange(len(indices), device=alive.device)
    order[~alive[: len(indices)]] = indices[indices >= len(indices)]
    return order


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns `values.topk(k, dim=1)`, sorted, in about a quarter of its time on a CPU.

    An entry among the k largest lies in one of the k chunks with the largest maxima, and a maximum is cheap.
    """
    rows, width = values.shape
    chunks = width // CHUNK
    if k >= chunks:
        value, index = values.topk(k, dim=1)
        return value, index
    maxima = values[:, : chunks * CHUNK].unflatten(1, (chunks, CHUNK)).amax(2)
    offset = torch.arange(CHUNK, device=values.device)
    index = (maxima.topk(k, dim=1).indices[:, :, None] * CHUNK + offset).flatten(1)
    rest = torch.arange(chunks * CHUNK, width, device=values.device).expand(rows, -1)
    index = torch.cat([index, rest], 1)
    value, at = values.gather(1, index).topk(k, dim=1)
    return value, index.gather(1, at)
