"""Takes every measure of every memory over a split: one forward pass per batch, and gradients of a few batches.

Shapes: K slots, E model width, B sequences, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reluformer.analysis.accumulate import ZERO
from reluformer.analysis.rows import Rows, rows_of
from reluformer.analysis.variance import ModuleVariance, VarianceByLength
from reluformer.analysis.weights import Anisotropy, LearnedSlots, RowMeans, TopShare, top_share_of
from reluformer.config.model import ATTENTIONS, KINDS, Kind, kind_of
from reluformer.corpus.batches import Batch, collate, length_batches
from reluformer.model.transformer import Transformer, observe

if TYPE_CHECKING:
    from reluformer.corpus.store import Store
    from reluformer.memory.read import Observation
    from reluformer.model.objective import Objective


def on_device(batch: Batch[NDArray], device: torch.device) -> Batch[Tensor]:
    """Returns the arrays of `batch` as tensors on `device`."""
    return batch.map(lambda array: torch.from_numpy(array).to(device))


class Measure(Protocol):
    """A measure over a whole split, updated batch by batch in constant memory."""

    def update(self, rows: Rows) -> None:
        """Adds the rows of one batch."""

    def result(self) -> dict[str, Any]:
        """Returns the measured values by their keys in analysis.json."""


def measures_of(kind: Kind, every: int) -> list[Measure]:
    """Returns the measures of a kind of memory; every: see `TopShare`."""
    measures: list[Measure] = [ModuleVariance(), RowMeans(), TopShare(every)]
    return [*measures, LearnedSlots()] if kind == "ffn" else [*measures, Anisotropy(), VarianceByLength()]


def sweep(
    model: Transformer, store: Store, punctuation: NDArray[np.bool_], padded_tokens: int, top_rows: int
) -> dict[str, dict[str, Any]]:
    """Measures every memory; returns its entry in analysis.json by place, in the order of the model.

    model: in evaluation mode. punctuation: bool [V], the pieces that are commas and periods. padded_tokens: tokens of
    a batch on its longer side. top_rows: rows per place whose weights are sorted.
    """
    device = next(model.parameters()).device
    marks = torch.from_numpy(punctuation).to(device)
    rows_of_side = {"encoder": int((store.src_lengths + 1).sum()), "decoder": int((store.tgt_lengths + 1).sum())}
    measures: dict[str, list[Measure]] = {}
    for residual in model.places():
        every = -(-rows_of_side[residual.place.partition(".")[0]] // top_rows)
        measures[residual.place] = measures_of(kind_of(residual.place), max(every, 1))

    longest = np.maximum(store.src_lengths, store.tgt_lengths) + 1
    with torch.no_grad():
        for indices in length_batches(np.argsort(longest, kind="stable"), longest, padded_tokens):
            batch = on_device(collate(store, indices), device)

            def take(place: str, read: Observation, batch: Batch[Tensor] = batch) -> None:
                rows = rows_of(place, read, batch, marks)
                for measure in measures[place]:
                    measure.update(rows)

            with observe(model, take):
                model(batch.src, batch.src_mask, batch.tgt_in, batch.tgt_mask)
    return {
        place: {"kind": kind_of(place), **{key: value for m in measured for key, value in m.result().items()}}
        for place, measured in measures.items()
    }


def random_batches(tgt_lengths: NDArray[np.integer], batches: int, tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yields up to `batches` disjoint batches of about `tokens` target tokens, from a fixed permutation."""
    order = np.random.default_rng(0).permutation(len(tgt_lengths))
    batch_of = (np.cumsum(tgt_lengths[order] + 1) - tgt_lengths[order] - 1) // tokens
    for number in np.unique(batch_of)[:batches]:
        yield order[batch_of == number]


def slot_gradients(objective: Objective, batch: Batch[Tensor]) -> dict[str, Tensor]:
    """Returns ‖∂L/∂(k_j, v_j)‖ of every slot j, [K], of every FFN by place; L: loss per token plus penalty."""
    slots: dict[str, tuple[Tensor, Tensor]] = {}

    def take(place: str, read: Observation) -> None:
        if kind_of(place) == "ffn":
            slots[place] = (read.key, read.value)

    with torch.enable_grad(), observe(objective.model, take):
        losses = objective(*batch)
        loss = losses.loss_sum / losses.tokens + losses.penalty
        gradients = torch.autograd.grad(loss, [tensor for pair in slots.values() for tensor in pair])
    joined = (torch.cat(pair, dim=-1) for pair in zip(gradients[::2], gradients[1::2], strict=True))
    return {place: gradient.double().norm(dim=-1) for place, gradient in zip(slots, joined, strict=True)}


def gradient_top_shares(
    objective: Objective, store: Store, batches: int, tokens: int
) -> dict[str, dict[str, float | None]]:
    """Returns gradient_top_share[p] of every FFN: the share of Σ_j g_j on the p % of its slots with the largest g_j.

    g_j: the norm of the training loss's gradient (without dropout) in the rows j of K and V, averaged over random
    batches of the split.

    objective: in evaluation mode. batches: how many are averaged, of about `tokens` target tokens each.
    """
    device = next(objective.parameters()).device
    split = random_batches(store.tgt_lengths, batches, tokens)
    norms = [slot_gradients(objective, on_device(collate(store, indices), device)) for indices in split]
    return {place: top_share_of(sum((by_place[place] for by_place in norms), start=ZERO)) for place in norms[0]}


def mean_by_kind(places: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the means of numbers and mappings of numbers over the places of each kind, and of all attention.

    Places without a number do not count; a number that no place has is None. Lists are left out.
    """
    groups: dict[str, tuple[str, ...]] = {**{kind: (kind,) for kind in KINDS}, "attention": ATTENTIONS}
    members = {name: [place for place in places.values() if place["kind"] in kinds] for name, kinds in groups.items()}
    return {name: _mean(each) for name, each in members.items() if each}


def _mean(places: list[Mapping[str, Any]]) -> dict[str, Any]:
    mean: dict[str, Any] = {}
    for key in dict.fromkeys(key for place in places for key in place):
        values = [place[key] for place in places if key in place]
        if all(value is None or isinstance(value, float) for value in values):
            numbers = [value for value in values if value is not None]
            mean[key] = sum(numbers) / len(numbers) if numbers else None
        elif all(isinstance(value, Mapping) for value in values) and (inner := _mean(values)):
            mean[key] = inner
    return mean
