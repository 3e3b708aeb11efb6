"""Attention maps of one segment, the same for every system of a dataset, as arrays and as text.

Shapes: H heads, S source tokens (EOS last), T tokens that the decoder reads (BOS first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from torch import Tensor

from reluformer.config.model import kind_of
from reluformer.config.settings import SettingsError
from reluformer.corpus.batches import Batch
from reluformer.model.transformer import Transformer, observe

if TYPE_CHECKING:
    from reluformer.corpus.store import Store
    from reluformer.memory.read import Observation

SIDES = {"encoder": ("src", "src"), "decoder": ("tgt", "tgt"), "cross": ("tgt", "src")}
"""The queries and the keys of each attention."""
SHADES = " ░▒▓█"
CELL = 2
"""Columns of a cell, so that it is about square."""
LONGEST = 14
"""Maximum columns of a token's label."""


def choose_segment(store: Store, documents: bool, tokens: int) -> int:
    """Returns the index of the segment to show, which depends only on the store; ties go to the first.

    A segment's length is that of its longer side, with EOS. Sentences: the one of median length. Documents: the longest
    of at most `tokens` tokens, or the shortest if all are longer. The store must not be empty.
    """
    length = np.maximum(store.src_lengths, store.tgt_lengths) + 1
    chosen = np.sort(length)[(len(length) - 1) // 2]
    if documents:
        chosen = length[length <= tokens].max(initial=length.min())
    return int(np.flatnonzero(length == chosen)[0])


def maps_of(
    model: Transformer, batch: Batch[Tensor], pieces: Callable[[Iterable[int]], list[str]], tokens: int
) -> dict[str, NDArray]:
    """Returns the attention maps of a batch of one pair, each axis truncated to `tokens` tokens.

    `src_tokens` [S], `tgt_tokens` [T]: unicode pieces. `encoder.<layer>` [H, S, S], `decoder.<layer>` [H, T, T],
    `cross.<layer>` [H, T, S]: weights, queries before keys, not normalised, clamped to the range of float16.

    pieces: maps ids to pieces.
    """
    arrays: dict[str, NDArray] = {
        "src_tokens": np.array(pieces(batch.src[0, :tokens].tolist()), dtype=np.str_),
        "tgt_tokens": np.array(pieces(batch.tgt_in[0, :tokens].tolist()), dtype=np.str_),
    }
    largest = torch.finfo(torch.float16).max

    def take(place: str, read: Observation) -> None:
        if (kind := kind_of(place)) != "ffn":
            weights = read.weights[0, :, :tokens, :tokens].float().clamp(max=largest)
            arrays[f"{kind.removesuffix('_attention')}.{place.split('.')[1]}"] = (
                weights.cpu().numpy().astype(np.float16)
            )

    with torch.no_grad(), observe(model, take):
        model(batch.src, batch.src_mask, batch.tgt_in, batch.tgt_mask)
    return arrays


class Map(NamedTuple):
    """One attention map: weights [Q, K], the tokens on its axes, and a title."""

    weights: NDArray
    queries: list[str]
    keys: list[str]
    title: str


def choose_map(arrays: Mapping[str, NDArray], attention: str, layer: int | None, head: int | None) -> Map:
    """Returns one of the maps of `maps_of`. Raises `SettingsError` for a layer or head that the model lacks.

    attention: encoder, decoder or cross. layer, head: from 1; None: the last layer, the mean over heads.
    """
    layers = sum(key.startswith(f"{attention}.") for key in arrays)
    layer = layers if layer is None else layer
    if not 1 <= layer <= layers:
        raise SettingsError(f"layer: {layer}: the model has {layers} of them")
    weights = arrays[f"{attention}.{layer - 1}"].astype(np.float32)
    if head is not None and not 1 <= head <= len(weights):
        raise SettingsError(f"head: {head}: the layer has {len(weights)} of them")
    chosen = weights.mean(axis=0) if head is None else weights[head - 1]
    queries, keys = (arrays[f"{side}_tokens"].tolist() for side in SIDES[attention])
    which = "cross-attention" if attention == "cross" else f"{attention} self-attention"
    return Map(
        chosen, queries, keys, f"{which}, layer {layer}, {'mean over heads' if head is None else f'head {head}'}"
    )


def ascii_map(weights: NDArray, queries: Sequence[str], keys: Sequence[str], width: int) -> str:
    """Returns the map [Q, K] as text of at most `width` columns; further keys continue in blocks below.

    Larger weights have darker cells, up to the 99th percentile of all weights, as in the report's figures; only a
    weight of 0 is blank. Keys are written downwards above their cells.
    """
    top = float(np.percentile(weights, 99)) or float(weights.max()) or 1.0
    levels = np.rint(np.clip(weights / top, 0, 1) * (len(SHADES) - 1)).astype(int).clip(min=weights > 0)
    margin = min(LONGEST, max(map(cell_len, queries)))
    columns = max(1, (width - margin - 1) // CELL)
    blocks = []
    for first in range(0, len(keys), columns):
        shown = [key[:LONGEST] for key in keys[first : first + columns]]
        tall = max(map(len, shown))
        lines = [
            " " * (margin + 1) + "".join(set_cell_size(character, CELL) for character in row)
            for row in zip(*(key.rjust(tall) for key in shown), strict=True)
        ]
        for query, row in zip(queries, levels[:, first : first + columns], strict=True):
            cells = "".join(SHADES[level] * CELL for level in row)
            lines.append(f"{set_cell_size(query[:LONGEST].rjust(margin), margin)} {cells}")
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)
