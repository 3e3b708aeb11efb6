"""One pass over a split: every measure of every memory, from one forward pass of each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reluformer.analysis.places import Measure, measures_of
from reluformer.analysis.rows import Tokens, rows_of
from reluformer.config.model import kind_of
from reluformer.corpus.batches import Batch, collate, length_batches
from reluformer.model.observe import observe

if TYPE_CHECKING:
    from reluformer.corpus.store import Store
    from reluformer.model.observe import Observation
    from reluformer.model.transformer import Transformer


def on_device(batch: Batch[NDArray], device: torch.device) -> Batch[Tensor]:
    """Returns the arrays of `batch` as tensors on `device`."""
    return batch.map(lambda array: torch.from_numpy(array).to(device))


def sweep(
    model: Transformer, store: Store, punctuation: NDArray[np.bool_], batch_tokens: int, top_rows: int
) -> dict[str, dict[str, Any]]:
    """What was measured in each place, in the order of the model: place -> its keys in analysis.json.

    model: in evaluation mode. punctuation: bool [V], the pieces that are commas and periods. batch_tokens, top_rows: as
    in `AnalysisConfig`.
    """
    device = next(model.parameters()).device
    marks = torch.from_numpy(punctuation).to(device)
    rows_of_side = {"encoder": int((store.src_lengths + 1).sum()), "decoder": int((store.tgt_lengths + 1).sum())}
    measures: dict[str, list[Measure]] = {}
    for residual in model.places():
        every = -(-rows_of_side[residual.place.partition(".")[0]] // top_rows)
        measures[residual.place] = measures_of(kind_of(residual.place), max(every, 1))

    tokens: Tokens | None = None

    def take(place: str, read: Observation) -> None:
        assert tokens is not None
        rows = rows_of(place, read, tokens)
        for measure in measures[place]:
            measure.update(rows)

    longest = np.maximum(store.src_lengths, store.tgt_lengths) + 1
    with torch.no_grad(), observe(model, take):
        for indices in length_batches(np.argsort(longest, kind="stable"), longest, batch_tokens):
            batch = on_device(collate(store, indices), device)
            tokens = Tokens(batch.src_mask, batch.tgt_mask, marks[batch.src], marks[batch.tgt_in])
            model(batch.src, batch.src_mask, batch.tgt_in, batch.tgt_mask)
    return {
        place: {"kind": kind_of(place), **{key: value for m in measured for key, value in m.result().items()}}
        for place, measured in measures.items()
    }
