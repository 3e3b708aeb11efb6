"""One system at one length: an update and a beam search with random weights, in a process of their own."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from reluformer.config.run import RunConfig
from reluformer.config.studies import MeasuringConfig
from reluformer.corpus.subword import BOS, EOS
from reluformer.model.flops import TRAINING, forward_flops
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.translation.decode import translate
from reluformer.translation.search import Hypothesis

FIRST_ID = 8
"""Token ids below are special."""
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
NEVER = -1e4
"""The logit of a token that is not chosen."""


class Batch(NamedTuple):
    """One update's tensors, as `Objective` takes them; nothing is padded."""

    src: Tensor
    src_mask: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_mask: Tensor


def make_batch(sentences: int, length: int, vocabulary: int, device: torch.device) -> Batch:
    """Random sources and targets [sentences, length]."""
    src, tgt = (torch.randint(FIRST_ID, vocabulary, (sentences, length), device=device) for _ in range(2))
    tgt_in = torch.cat([torch.full_like(tgt[:, :1], BOS), tgt[:, :-1]], 1)
    mask = torch.ones_like(src, dtype=torch.bool)
    return Batch(src, mask, tgt_in, tgt, mask)


class Endless(nn.Module):
    """A decoder that never ends a sentence by itself, so that every system puts out as many tokens."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def start(self, src: Tensor, src_mask: Tensor) -> Any:
        """As the model's."""
        return self.model.start(src, src_mask)

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        """The model's logits, EOS out of reach."""
        logits = self.model.step(tokens, state)
        logits[:, EOS] = NEVER
        return logits


class Point:
    """One system at one length, ready to be timed on `device`."""

    def __init__(self, config: RunConfig, length: int, measured: MeasuringConfig, device: torch.device) -> None:
        torch.manual_seed(1)
        self.config, self.length, self.measured, self.device = config, length, measured, device
        self.model = Transformer(config.model).to(device)
        self.objective = Objective(self.model, config.training.label_smoothing).train()
        # so small a rate that the weights stay as they are
        self.optimizer = AdamW(self.model.parameters(), lr=1e-12, fused=True)
        self.precision = AUTOCAST.get(config.training.precision)
        self.sentences = max(1, measured.batch_tokens // length)

    def update(self, batch: Batch) -> None:
        """One update: forward, backward, optimizer."""
        autocast = torch.autocast(self.device.type, self.precision) if self.precision else contextlib.nullcontext()
        with autocast:
            losses = self.objective(*batch)
        (losses.loss_sum / losses.tokens + losses.penalty).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def train(self) -> dict[str, float]:
        """Target tokens a second, MiB that an update takes beside weights and optimizer, FLOP/s of its products."""
        vocabulary = self.config.model.vocabulary
        self.update(make_batch(2, 8, vocabulary, self.device))  # what is made once: optimizer's state, libraries
        batch = make_batch(self.sentences, self.length, vocabulary, self.device)
        with peak_memory(self.device) as taken:
            self.update(batch)
        seconds = median_seconds(lambda: self.update(batch), self.measured.seconds, self.device)
        tokens = self.sentences * self.length
        flops = TRAINING * forward_flops(self.config.model, tokens, tokens, self.length, self.length)
        return {
            "training_speed": tokens / seconds,
            "training_memory": taken() / 2**20,
            "flops_per_second": flops / seconds,
        }

    def decode(self) -> dict[str, float]:
        """Tokens a second put out by the beam search: as many as there are in the source."""
        search = self.config.translation.model_copy(update={"max_ratio": 1.0, "max_extra": 0})
        rng = np.random.default_rng(1)
        count = max(1, min(self.sentences, search.batch_tokens // self.length))
        ids = [rng.integers(FIRST_ID, self.config.model.vocabulary, max(1, self.length - 1)) for _ in range(count)]
        model = Endless(self.model.eval())
        found: list[Hypothesis] = []

        def decode() -> None:
            found[:] = translate(model, ids, search, self.device)

        seconds = median_seconds(decode, self.measured.seconds, self.device, calls=1)
        return {"decoding_speed": sum(len(one.tokens) + 1 for one in found) / seconds}


def synchronise(device: torch.device) -> None:
    """Waits until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(run: Callable[[], object], least: float, device: torch.device, calls: int = 2) -> float:
    """The median time of `run`, called at least `calls` times and for `least` seconds.

    With one thread on a CPU it is processor time, in which what else the machine does hardly shows.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times: list[float] = []
    while len(times) < calls or sum(times) < least:
        synchronise(device)
        begin = clock()
        run()
        synchronise(device)
        times.append(clock() - begin)
    return float(np.median(times))


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Bytes by which memory grew at its height inside: of the GPU's allocator, else of this process on Linux."""
    gc.collect()
    result = float("nan")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: result
        result = float(torch.cuda.max_memory_allocated(device) - before)
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the height starts anew
    before = _height()
    yield lambda: result
    result = float(_height() - before)


def _height() -> int:
    """The most bytes that this process had in memory since the height was started anew (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def matmul_peak(precision: str, device: torch.device, seconds: float = 0.5) -> float:
    """FLOP/s of large matrix products in a precision: what utilisation is a share of."""
    size = 8192 if device.type == "cuda" else 1024
    one = torch.randn(size, size, device=device, dtype=AUTOCAST.get(precision, torch.float32))
    torch.matmul(one, one)
    return 2 * size**3 / median_seconds(lambda: torch.matmul(one, one), seconds, device)
