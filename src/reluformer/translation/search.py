"""Beam search over a batch of sources, with key/value caches, the same for every system.

Shapes: N sentences still searched, W live hypotheses of each (1 at the first step, then the beam), V vocabulary,
t tokens produced so far. Rows of the model's state are [N·W], the hypotheses of a sentence side by side.

The rules are fairseq's. A hypothesis scores `Σ log p / length ** length_penalty`, its EOS counted in both. Of the best
2·beam continuations of a sentence, those that end and are among the first `beam` are finished, and the best `beam` that
do not end live on. A translation has at least one token. A sentence is done when `beam` hypotheses have finished, when
it reached its length limit, or - which changes no result - as soon as no live hypothesis can still beat the last of
the n best finished ones. A beam of 1 is therefore greedy decoding, and a beam as large as the search space is exact.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.ops.beam import best_tokens, has_kernel

ROWS = 32  # of logits at a time on a CPU, so that what is read again is still in its cache
CHUNK = 64  # entries of one maximum in `top`; about as fast as 32 and faster than 16 or 128 at a vocabulary of 4,000


class BrokenModelError(SettingsError):
    """The model's predictions are not numbers."""


class State(Protocol):
    """The caches of a decoder that produces one token at a time."""

    def select(self, rows: Tensor) -> object:
        """Keeps `rows` [R'] (int64), in that order, repeated where they are repeated."""


S = TypeVar("S", bound=State)


class Decoder(Protocol[S]):
    """What the search needs of a model."""

    def start(self, src: Tensor, src_mask: Tensor) -> S:
        """Encodes `src` [B, S] and opens one row per source."""

    def step(self, tokens: Tensor, state: S) -> Tensor:
        """Appends `tokens` [R] to the rows; logits [R, V] of the token after them."""


class LengthLimit(Protocol):
    """A translation's length limit: max_ratio · source + max_extra."""

    @property
    def max_ratio(self) -> float:
        """Tokens for each token of the source."""

    @property
    def max_extra(self) -> int:
        """Tokens more."""


class Hypothesis(NamedTuple):
    """A translation: target tokens without BOS and EOS, and its length-normalised log-probability (nats)."""

    tokens: np.ndarray
    score: float


def length_limits(lengths: Tensor, config: LengthLimit) -> Tensor:
    """Most tokens of a hypothesis, EOS apart, for sources of `lengths` tokens: at least 1."""
    return (lengths * config.max_ratio + config.max_extra).long().clamp_min(1)


def beam_search(model: Decoder[S], src: Tensor, src_mask: Tensor, config: TranslationConfig) -> list[Hypothesis]:
    """The best hypothesis found for each source; see `n_best_search`."""
    return [found[0] for found in n_best_search(model, src, src_mask, config, 1)]


@torch.inference_mode()
def n_best_search(
    model: Decoder[S], src: Tensor, src_mask: Tensor, config: TranslationConfig, n_best: int
) -> list[list[Hypothesis]]:
    """The `n_best` best finished hypotheses for each source, the best first; fewer where fewer were found.

    Args:
        model: the decoder, in evaluation mode.
        src: [B, S] token ids, each source ending in EOS, right-padded.
        src_mask: [B, S] bool, true at real tokens.
        config: beam, length penalty, length limits.
        n_best: n, at most the beam.

    Raises:
        BrokenModelError: the model predicts NaN or infinity.
    """
    device, batch = src.device, len(src)
    limits = length_limits(src_mask.sum(1) - 1, config)
    best_score = torch.full((batch, n_best), -torch.inf, device=device)  # sorted
    best_tokens = torch.zeros((batch, n_best, int(limits.max())), dtype=torch.long, device=device)
    best_length = torch.zeros((batch, n_best), dtype=torch.long, device=device)

    sentence = torch.arange(batch, device=device)  # [N] which source a live sentence is
    finished = torch.zeros_like(sentence)  # [N] hypotheses of it that have ended
    scores = torch.zeros((batch, 1), device=device)  # [N, W] Σ log p of its live hypotheses
    tokens = torch.empty((batch, 0), dtype=torch.long, device=device)  # [N·W, t]
    last = torch.full((batch,), BOS, device=device)  # [N·W]
    state = model.start(src, src_mask)
    for t in range(int(limits.max()) + 1):
        last_step = limits == t
        logits = model.step(last, state)
        value, parent, token = _continuations(logits, scores, 2 * config.beam, first=t == 0, last_step=last_step)
        ends = token == EOS

        ending = (ends & value.isfinite())[:, : config.beam]
        ended = value[:, : config.beam].masked_fill(~ending, -torch.inf) / (t + 1) ** config.length_penalty
        better = (ended.amax(1) > best_score[sentence, -1]).nonzero().flatten()  # of N
        if len(better):
            winner = sentence[better]
            rows = better[:, None] * scores.shape[1] + parent[better, : config.beam]
            ended_tokens = best_tokens.new_zeros((*rows.shape, best_tokens.shape[2]))
            ended_tokens[..., :t] = tokens[rows]
            merged = torch.cat([best_score[winner], ended[better]], 1)
            # a stable sort, so that of equal scores the one that ended first stays first
            at = merged.argsort(dim=1, descending=True, stable=True)[:, :n_best]
            best_score[winner] = merged.gather(1, at)
            lengths = torch.cat([best_length[winner], torch.full_like(rows, t)], 1)
            best_length[winner] = lengths.gather(1, at)
            candidates = torch.cat([best_tokens[winner], ended_tokens], 1)
            best_tokens[winner] = candidates.gather(1, at[..., None].expand(-1, -1, candidates.shape[2]))
        finished = finished + ending.sum(1)

        # `value` is sorted, so a stable sort by "ends" puts the best that live on first
        live = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, : config.beam]
        live_scores = value.gather(1, live).masked_fill(ends.gather(1, live), -torch.inf)
        hope = live_scores[:, 0] / (limits + 1) ** config.length_penalty
        keep = few_moves(~(last_step | (finished >= config.beam) | (best_score[sentence, -1] >= hope)))
        if not len(keep):
            break
        live = live[keep]
        rows = (keep[:, None] * scores.shape[1] + parent[keep].gather(1, live)).flatten()
        last = token[keep].gather(1, live).flatten()
        tokens = torch.cat([tokens[rows], last[:, None]], 1)
        sentence, finished, scores, limits = sentence[keep], finished[keep], live_scores[keep], limits[keep]
        state.select(rows)
    found = zip(best_tokens.cpu().numpy(), best_length.tolist(), best_score.tolist(), strict=True)
    return [
        [Hypothesis(ids[:n].copy(), score) for ids, n, score in zip(*each, strict=True) if isfinite(score)]
        for each in found
    ]


class Continuations(NamedTuple):
    """The best continuations of each sentence, sorted: Σ log p, which live hypothesis of it, the token; [N, k]."""

    value: Tensor
    parent: Tensor
    token: Tensor


def _continuations(logits: Tensor, scores: Tensor, k: int, *, first: bool, last_step: Tensor) -> Continuations:
    """The k best (all, where there are fewer) allowed continuations; a sentence with fewer is filled up with -inf.

    Args:
        logits: [N·W, V]; overwritten.
        scores: [N, W], Σ log p of the live hypotheses.
        first: nothing has been produced yet, so none may end.
        last_step: [N], true where a sentence is at its length limit, so that all must end.
    """
    blocks = logits.split(len(logits) if logits.device.type != "cpu" or has_kernel(logits) else ROWS)
    scanned = [_scan(block, k, [PAD, BOS, EOS] if first else [PAD, BOS]) for block in blocks]
    end, of_row, of_row_token = (torch.cat(parts) for parts in zip(*scanned, strict=True))
    # a row with NaN or +inf has no finite log-probability at all, any other row has at least one
    if not of_row[:, 0].isfinite().all():
        raise BrokenModelError("the model predicts NaN or infinity: its weights are broken, train it again")
    options = (of_row.view(*scores.shape, -1) + scores[..., None]).flatten(1)
    value, at = options.topk(min(k, options.shape[1]), dim=1)
    parent = at // of_row.shape[1]
    token = of_row_token.view_as(options).gather(1, at)
    if last_step.any():
        ending, order = (end.view_as(scores) + scores)[last_step].sort(1, descending=True)
        rest = value.shape[1] - ending.shape[1]
        value[last_step] = pad(ending, (0, rest), value=-torch.inf)
        parent[last_step] = pad(order, (0, rest))
        token[last_step] = EOS
    return Continuations(value, parent, token)


def _scan(logits: Tensor, k: int, banned: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of logits [R, V]: log p of EOS [R], then the k best not banned, their log p and tokens [R, k]."""
    logits, k = logits.float(), min(k, logits.shape[1])
    if has_kernel(logits):
        return best_tokens(logits, k, EOS, banned)
    log_p = logits.log_softmax(-1)
    end = log_p[:, EOS].clone()
    log_p[:, banned] = -torch.inf
    return end, *top(log_p, k)


def few_moves(alive: Tensor) -> Tensor:
    """Indices of the true entries of `alive` [N], those beyond their number in the places of the false ones before.

    So a state that keeps them in this order moves as many as have ended, and no others.
    """
    indices = alive.nonzero().flatten()
    order = torch.arange(len(indices), device=alive.device)
    order[~alive[: len(indices)]] = indices[indices >= len(indices)]
    return order


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`values.topk(k, dim=1)`, sorted, at about a quarter of its time on a CPU.

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
