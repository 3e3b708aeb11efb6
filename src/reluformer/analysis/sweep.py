"""One pass over a split: every measure of every memory, from one forward pass of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reluformer.analysis.places import Measure, measures_of
from reluformer.analysis.rows import Tokens, rows_of
from reluformer.config.model import kind_of
from reluformer.corpus.batches import Batch, collate, length_batches
from reluformer.corpus.subword import BOS, EOS
from reluformer.model.observe import observe

if TYPE_CHECKING:
    from reluformer.corpus.store import Store
    from reluformer.model.observe import Read
    from reluformer.model.transformer import Transformer


class TensorBatch(NamedTuple):
    """A `corpus.batches.Batch` on the model's device: ids int [B, S|T], masks bool."""

    src: Tensor
    src_mask: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_mask: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> TensorBatch:
        """The arrays of `batch` as tensors."""
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in batch))

    @classmethod
    def of_pair(cls, src: Sequence[int], tgt: Sequence[int], device: torch.device) -> TensorBatch:
        """One pair of sequences, ids without BOS and EOS."""
        source, read, written = ([*src, EOS], [BOS, *tgt], [*tgt, EOS])
        ids = [torch.tensor([sequence], device=device) for sequence in (source, read, written)]
        return cls(ids[0], torch.ones_like(ids[0]).bool(), ids[1], ids[2], torch.ones_like(ids[1]).bool())


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

    def take(place: str, read: Read) -> None:
        assert tokens is not None
        rows = rows_of(place, read, tokens)
        for measure in measures[place]:
            measure.update(rows)

    longest = np.maximum(store.src_lengths, store.tgt_lengths) + 1
    with torch.no_grad(), observe(model, take):
        for indices in length_batches(np.argsort(longest, kind="stable"), longest, batch_tokens):
            batch = TensorBatch.of(collate(store, indices), device)
            tokens = Tokens(batch.src_mask, batch.tgt_mask, marks[batch.src], marks[batch.tgt_in])
            model(batch.src, batch.src_mask, batch.tgt_in, batch.tgt_mask)
    return {
        place: {"kind": kind_of(place), **{key: value for m in measured for key, value in m.result().items()}}
        for place, measured in measures.items()
    }
