"""The worker of a peer that trains: takes batches, returns the seconds of one optimizer update.

A peer defines `build(shape) -> module` and `loss(module, batch) -> scalar`. By default the optimizer is torch's fused
AdamW, and special tokens have our ids.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from protocol import serve
from torch import Tensor, nn


class Special(NamedTuple):
    """The ids of special tokens."""

    pad: int
    bos: int
    eos: int


OURS = Special(0, 2, 3)


class Batch:
    """One batch, right-padded: src [B, S] with EOS, tgt_in [B, T] with BOS, tgt_out [B, T] with EOS; masks bool."""

    def __init__(self, src: list[list[int]], tgt: list[list[int]], special: Special, device: str) -> None:
        self.pad = special.pad
        self.src = self._pad([[*sentence, special.eos] for sentence in src], device)
        self.tgt_in = self._pad([[special.bos, *sentence] for sentence in tgt], device)
        self.tgt_out = self._pad([[*sentence, special.eos] for sentence in tgt], device)
        self.src_mask, self.tgt_mask = self.src != self.pad, self.tgt_out != self.pad

    def _pad(self, rows: list[list[int]], device: str) -> Tensor:
        rows = [torch.tensor(row) for row in rows]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad).to(device)


class Trainee:
    """Serves `build`, `load`, `update`, `gpu_memory`, and the peer's `translate(module, ...)` if it has one."""

    def __init__(
        self,
        build: Callable[[dict[str, Any]], nn.Module],
        loss: Callable[[nn.Module, Any], Tensor],
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        prepare: Callable[[Batch], Any] = lambda batch: batch,
        special: Special = OURS,
        translate: Callable[..., Any] | None = None,
    ) -> None:
        self._build, self._loss, self._optimizer = build, loss, optimizer or fused_adamw
        self._prepare, self._special = prepare, special
        functions = {"build": self.build, "load": self.load, "update": self.update, "gpu_memory": gpu_memory}
        if translate is not None:
            functions["translate"] = lambda **arguments: translate(self.module, **arguments)
        serve(functions)

    def build(self, shape: dict[str, Any], device: str, autocast: bool) -> int:
        """Builds the model; returns its number of parameters."""
        torch.manual_seed(0)
        self.device = device
        self.autocast = torch.autocast(device, torch.bfloat16) if autocast else contextlib.nullcontext()
        self.module = self._build({**shape, **self._special._asdict()}).to(device).train()
        self.optimizer = self._optimizer(self.module)
        return sum(parameter.numel() for parameter in self.module.parameters())

    def load(self, batches: list[dict[str, list[list[int]]]]) -> None:
        """Copies batches to the device, before any timing."""
        self.batches = [self._prepare(Batch(**batch, special=self._special, device=self.device)) for batch in batches]

    def update(self, index: int) -> float:
        """Returns the seconds of one update on batch number `index`."""
        begin = time.perf_counter()
        with self.autocast:
            loss = self._loss(self.module, self.batches[index])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin


def gpu_memory() -> float:
    """Returns the largest memory that torch had allocated on the GPU, MB."""
    return torch.cuda.max_memory_allocated() / 2**20


def fused_adamw(module: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimizer of the recipe."""
    return torch.optim.AdamW(module.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)


def smoothed(logits: Tensor, batch: Batch) -> Tensor:
    """Returns the label-smoothed cross-entropy of logits [B, T, V], a mean over the real target tokens."""
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.tgt_out.flatten(), ignore_index=batch.pad, label_smoothing=0.1
    )
