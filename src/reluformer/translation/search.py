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

from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.settings import SettingsError
from reluformer.translation.config import TranslationConfig

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
        total = _continuations(model.step(last, state), scores, first=t == 0, last_step=last_step)  # [N, W·V]
        vocabulary = total.shape[1] // scores.shape[1]
        value, index = top(total, min(2 * config.beam, total.shape[1]))
        parent, token = index // vocabulary, index % vocabulary
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
        done = last_step | (finished >= config.beam) | (best_score[sentence, -1] >= hope)
        keep = (~done).nonzero().flatten()
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


def _continuations(logits: Tensor, scores: Tensor, *, first: bool, last_step: Tensor) -> Tensor:
    """Σ log p [N, W·V] of every continuation of the live hypotheses, -inf where it is not allowed.

    Args:
        logits: [N·W, V].
        scores: [N, W], Σ log p of the live hypotheses.
        first: nothing has been produced yet, so none may end.
        last_step: [N], true where a sentence is at its length limit, so that all must end.
    """
    log_p = logits.float().log_softmax(-1)
    # a row with NaN or +inf has no finite log-probability at all, any other row has at least one
    if not log_p.amax(-1).isfinite().all():
        raise BrokenModelError("the model predicts NaN or infinity: its weights are broken, train it again")
    log_p[:, [PAD, BOS, EOS] if first else [PAD, BOS]] = -torch.inf
    total = log_p.view(*scores.shape, -1).add_(scores[..., None])
    if last_step.any():
        end = total[last_step, :, EOS]
        total[last_step] = -torch.inf
        total[last_step, :, EOS] = end
    return total.flatten(1)


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
