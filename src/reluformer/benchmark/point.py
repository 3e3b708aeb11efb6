"""One system at one length: an update and a beam search with random weights."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from reluformer.benchmark.harness import DTYPES, median_seconds, peak_memory
from reluformer.config.run import RunConfig
from reluformer.config.studies import MeasuringConfig
from reluformer.corpus.batches import Batch
from reluformer.corpus.subword import BOS, EOS
from reluformer.model.flops import TRAINING, forward_flops
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.translation.decode import translate
from reluformer.translation.search import Hypothesis

FIRST_ID = 8
"""Token ids below are special."""
NEVER = -1e4
"""The logit of a token that is never chosen."""


def make_batch(sentences: int, length: int, vocabulary: int, device: torch.device) -> Batch[Tensor]:
    """Returns random sources and targets [sentences, length] without padding."""
    src, tgt = (torch.randint(FIRST_ID, vocabulary, (sentences, length), device=device) for _ in range(2))
    tgt_in = torch.cat([torch.full_like(tgt[:, :1], BOS), tgt[:, :-1]], 1)
    mask = torch.ones_like(src, dtype=torch.bool)
    return Batch(src, mask, tgt_in, tgt, mask, torch.arange(src.numel(), device=device))


class Endless(nn.Module):
    """A decoder that never chooses EOS, so that every system generates the same number of tokens."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def start(self, src: Tensor, src_mask: Tensor) -> Any:
        """Starts the model's search."""
        return self.model.start(src, src_mask)

    def step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Returns the model's logits without EOS."""
        logits = self.model.step(tokens, cache)
        logits[:, EOS] = NEVER
        return logits


class Point:
    """One system at one length, ready to be timed on `device`."""

    def __init__(self, config: RunConfig, length: int, measured: MeasuringConfig, device: torch.device) -> None:
        torch.manual_seed(1)
        self.config, self.length, self.measured, self.device = config, length, measured, device
        self.model = Transformer(config.model).to(device)
        self.objective = Objective(self.model, config.training.label_smoothing).train()
        # too low a rate to change the weights
        self.optimizer = AdamW(self.model.parameters(), lr=1e-12, fused=True)
        self.precision = DTYPES[config.training.precision]
        self.sentences = max(1, measured.batch_tokens // length)

    def update(self, batch: Batch[Tensor]) -> None:
        """Runs forward, backward and optimizer."""
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision) if mixed else contextlib.nullcontext():
            losses = self.objective(*batch)
        (losses.loss_sum / losses.tokens + losses.penalty).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def train(self) -> dict[str, float]:
        """Returns target tokens/s, MiB of an update on top of weights and optimizer, FLOP/s of its matrix products."""
        vocabulary = self.config.model.vocabulary
        self.update(make_batch(2, 8, vocabulary, self.device))  # allocates the optimizer's state, loads libraries
        batch = make_batch(self.sentences, self.length, vocabulary, self.device)
        with peak_memory(self.device) as peak:
            self.update(batch)
        seconds = median_seconds(lambda: self.update(batch), self.measured.seconds, self.device)
        tokens = self.sentences * self.length
        flops = TRAINING * forward_flops(self.config.model, tokens, tokens, self.length, self.length)
        return {
            "training_speed": tokens / seconds,
            "training_memory": peak() / 2**20,
            "flops_per_second": flops / seconds,
        }

    def decode(self) -> dict[str, float]:
        """Returns the tokens/s of a beam search that generates as many tokens as the source has."""
        search = self.config.translation.model_copy(update={"max_ratio": 1.0, "max_extra": 0})
        rng = np.random.default_rng(1)
        count = max(1, min(self.sentences, search.batch_tokens // self.length))
        ids = [rng.integers(FIRST_ID, self.config.model.vocabulary, max(1, self.length - 1)) for _ in range(count)]
        model = Endless(self.model.eval())
        hypotheses: list[Hypothesis] = []

        def decode() -> None:
            hypotheses[:] = translate(model, ids, search, self.device)

        seconds = median_seconds(decode, self.measured.seconds, self.device, calls=1)
        return {"decoding_speed": sum(len(hypothesis.tokens) + 1 for hypothesis in hypotheses) / seconds}
