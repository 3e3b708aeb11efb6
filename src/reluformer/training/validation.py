"""Loss and BLEU on the validation split during training.

Each process takes a share of the batches; all return the same results.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from deepspeed import DeepSpeedEngine
from numpy.typing import NDArray
from sacrebleu import BLEU
from torch import Tensor

from reluformer.corpus.batches import Batch, collate, length_batches
from reluformer.corpus.subword import BOS, EOS, Subword
from reluformer.evaluation.tokenisation import SPLITTING, choose
from reluformer.memory.read import Observation
from reluformer.model.transformer import Transformer, observe
from reluformer.training.data import TrainingData
from reluformer.training.distributed import DistributedContext

MAX_RATIO, MAX_EXTRA = 1.5, 10
"""A greedy hypothesis ends after MAX_RATIO · source + MAX_EXTRA tokens."""
DECODED_TOKENS = 4096
"""Minimum source positions of a decoding batch: a step of few rows costs nearly as much as one of many."""


class Validation:
    """The validation split in batches.

    padded_tokens: target positions of a batch over all processes, padding included. with_bleu: whether to decode and
    score as well. with_source: whether to measure `source_gain` and `dead_keys`.
    """

    def __init__(
        self, data: TrainingData, world: DistributedContext, padded_tokens: int, with_bleu: bool, with_source: bool
    ) -> None:
        self.store, self.world = data.valid, world
        src_lengths, tgt_lengths = data.valid.src_lengths + 1, data.valid.tgt_lengths + 1

        def batches(order: NDArray[np.int64], lengths: NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
            return list(length_batches(order, lengths, tokens // world.size))[world.rank :: world.size]

        self.batches = batches(np.lexsort((src_lengths, tgt_lengths)), tgt_lengths, padded_tokens)
        self.decoded = batches(np.argsort(src_lengths), src_lengths, max(padded_tokens, DECODED_TOKENS * world.size))
        self.subword = Subword(data.subword) if with_bleu else None
        self.tgt, self.with_source = data.tgt, with_source

    @torch.no_grad()
    def measure(self, engine: DeepSpeedEngine) -> dict[str, float]:
        """Validates the model in `engine`, an `Objective`, without dropout.

        Returns:
            loss, nll: the label-smoothed loss and the negative log-likelihood, in nats per token.
            ppl: perplexity.
            bleu, if enabled: tokenised BLEU of greedy decoding.
            source_gain, if enabled: nll with the source of another sentence of about the same length, minus nll, in
                nats per token: how much the model uses the source. It is about 0 until an attention aligns, whatever
                the loss.
            dead_keys, if enabled: the share of all attention keys in one batch to which no row gives weight; they
                get no gradient.
        """
        device = self.world.device
        engine.eval()
        sums = torch.zeros(7, dtype=torch.float64, device=device)
        for indices in self.batches:
            batch = self._batch(indices)
            losses = engine(*batch)
            sums[:3] += torch.stack((losses.loss_sum.double(), losses.nll_sum.double(), losses.tokens.double()))
            if self.with_source and len(indices) > 1:
                others = engine(*batch._replace(src=batch.src.roll(1, 0), src_mask=batch.src_mask.roll(1, 0)))
                sums[3:5] += torch.stack((others.nll_sum.double() - losses.nll_sum.double(), losses.tokens.double()))
        if self.with_source and self.batches:
            counts: list[Tensor] = []
            with observe(engine.module.model, lambda _, read: counts.append(dead_keys(read))):
                engine(*self._batch(self.batches[0]))
            sums[5:] += torch.stack(counts).sum(0)
        bleu = {"bleu": self._bleu(engine.module.model)} if self.subword else {}
        engine.train()
        loss, nll, tokens, gain, compared, dead, keys = self.world.sum(sums).tolist()
        scores = {"loss": loss / tokens, "nll": nll / tokens, "ppl": math.exp(min(nll / tokens, 700.0)), **bleu}
        if compared:
            scores["source_gain"] = gain / compared
        if keys:
            scores["dead_keys"] = dead / keys
        return scores

    def _batch(self, indices: NDArray[np.int64]) -> Batch[Tensor]:
        return collate(self.store, indices).map(lambda array: torch.from_numpy(array).to(self.world.device))

    def _bleu(self, model: Transformer) -> float:
        """Returns the BLEU of greedy decoding against the tokenised references."""
        assert self.subword is not None
        pairs: list[tuple[str, str]] = []
        for indices in self.decoded:
            batch = self._batch(indices)
            for index, hypothesis in zip(indices, greedy(model, batch.src, batch.src_mask), strict=True):
                reference = self.subword.decode(self.store.tgt(int(index)).tolist())
                pairs.append((self.subword.decode(hypothesis), reference))
        if self.world.size > 1:
            parts: list[list[tuple[str, str]]] = [[]] * self.world.size
            torch.distributed.all_gather_object(parts, pairs)
            pairs = [pair for part in parts for pair in part]
        name = choose(self.tgt)
        hypotheses, references = ([pair[side] for pair in pairs] for side in (0, 1))
        metric = BLEU(tokenize=name if name in SPLITTING else "none", force=True)
        return metric.corpus_score(hypotheses, [references]).score


def dead_keys(read: Observation) -> Tensor:
    """Returns two counts of an attention's keys: those visible to some row but without any weight, and all visible."""
    if read.weights.dim() == 3:  # an FFN
        return torch.zeros(2, device=read.weights.device)
    seen = read.mask.expand_as(read.weights)
    keys, alive = seen.any(-2), (seen & (read.weights != 0)).any(-2)
    return torch.stack(((keys & ~alive).sum(), keys.sum()))


def greedy(model: Transformer, src: Tensor, src_mask: Tensor) -> list[list[int]]:
    """Decodes greedily; returns each sentence's tokens without BOS and EOS, at most MAX_RATIO · source + MAX_EXTRA.

    src: int [B, S]. src_mask: bool [B, S], true on real tokens.
    """
    lengths = src_mask.sum(1)
    limits = torch.where(lengths > 1, (MAX_RATIO * lengths).long() + MAX_EXTRA, 0)  # 0 for EOS alone
    cache = model.start(src, src_mask)
    tokens = src.new_full((src.size(0),), BOS)
    rows = torch.arange(src.size(0), device=src.device)  # sentences still being decoded
    hypotheses = src.new_full((src.size(0), int(limits.max())), EOS)
    for t in range(hypotheses.size(1)):
        tokens = model.step(tokens, cache).argmax(-1)
        hypotheses[rows, t] = tokens
        going = ((tokens != EOS) & (t + 1 < limits[rows])).nonzero().flatten()
        if not len(going):
            break
        if len(going) <= len(rows) * 3 // 4:
            cache.select(going)
            rows, tokens = rows[going], tokens[going]
    cut = [row[:limit] for row, limit in zip(hypotheses.tolist(), limits.tolist(), strict=True)]
    return [row[: row.index(EOS)] if EOS in row else row for row in cut]
