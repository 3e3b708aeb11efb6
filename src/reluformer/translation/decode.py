"""Translates many sources by beam search: sorts by length, batches by tokens, and restores the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.batches import length_batches
from reluformer.corpus.subword import EOS, PAD, SENT
from reluformer.model.transformer import Transformer
from reluformer.ops import int8
from reluformer.ops.linear import Packed, pack
from reluformer.ops.paths import distrust, trusted
from reluformer.translation.graphs import buckets_of, graph_search
from reluformer.translation.search import BrokenModelError, Decoder, Hypothesis, n_best_search

T = TypeVar("T")
Search = Callable[[Tensor, Tensor], list[list[Hypothesis]]]

CPU_TOKENS = 1200
"""Maximum source tokens of a batch on a CPU."""
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


def ready(model: nn.Module, config: TranslationConfig, device: torch.device | str) -> None:
    """Prepares a model for inference only: casts its weights to the search's precision on CUDA, packs them on a CPU.

    Log-probabilities are summed in fp32 at every precision.

    Raises `SettingsError` for int8 on CUDA, or if this torch cannot multiply in int8.
    """
    kind = torch.device(device).type
    if config.precision == "int8" and (kind != "cpu" or not int8.AVAILABLE):
        why = "this torch has no oneDNN" if kind == "cpu" else f"int8 is for a CPU, not for {kind}"
        raise SettingsError(f"translation: precision: int8: {why}")
    if kind == "cuda" and config.precision in HALF:
        model.to(HALF[config.precision])
    pack(model, int8.Int8 if config.precision == "int8" else Packed)


def translate(
    model: Decoder, sources: Sequence[np.ndarray], config: TranslationConfig, device: torch.device | str = "cpu"
) -> list[Hypothesis]:
    """Returns the best hypothesis for each source; see `translate_n_best`."""
    return [hypotheses[0] for hypotheses in translate_n_best(model, sources, config, 1, device)]


def translate_n_best(
    model: Decoder,
    sources: Sequence[np.ndarray],
    config: TranslationConfig,
    n_best: int,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Returns the `n_best` best hypotheses for each source, in order; the only hypothesis of a blank source is itself.

    Args:
        model: in evaluation mode on `device`.
        sources: token ids of each source, without EOS.
        n_best: at most the beam; a source gets fewer if fewer finished.

    Raises:
        BrokenModelError: the model predicts NaN or infinity.
    """
    device = torch.device(device)
    search = search_on(device, model, config, n_best)
    lengths = np.array([len(source) + 1 for source in sources], dtype=np.int64)

    def search_batch(batch: np.ndarray) -> list[list[Hypothesis]]:
        src = np.full((len(batch), lengths[batch[0]]), PAD, dtype=np.int64)
        for row, index in enumerate(batch):
            src[row, : lengths[index]] = [*sources[index], EOS]
        mask = torch.from_numpy(np.arange(src.shape[1]) < lengths[batch, None])
        return search(torch.from_numpy(src).to(device), mask.to(device))

    hypotheses = {
        index: [Hypothesis(np.asarray(source, np.int64), 0.0)]
        for index, source in enumerate(sources)
        if all(token == SENT for token in source)
    }
    real = np.array([index for index in range(len(sources)) if index not in hypotheses], np.int64)
    tokens = config.batch_tokens
    if device.type == "cpu":  # small batches, for its caches and to keep every thread busy
        tokens = max(1, min(tokens, CPU_TOKENS, -(-int(lengths[real].sum()) // torch.get_num_threads())))
    longest_first = real[np.argsort(-lengths[real], kind="stable")]  # a batch that exceeds memory fails at once
    batches = list(length_batches(longest_first, lengths, tokens))
    for batch, translations in zip(batches, each(search_batch, batches, device), strict=True):
        hypotheses.update(zip(batch.tolist(), translations, strict=True))
    return [hypotheses[index] for index in range(len(sources))]


def search_on(device: torch.device, model: Decoder, config: TranslationConfig, n_best: int) -> Search:
    """Returns the fastest search: with CUDA graphs, if the configuration allows them and the model's steps are static.

    Autocast rules them out: a replayed graph would read cast weights that autocast has already freed.
    """
    plain = partial(n_best_search, model, config=config, n_best=n_best)
    graphs = config.graphs and device.type == "cuda" and not torch.is_autocast_enabled("cuda")
    if graphs and isinstance(model, Transformer) and model.static and trusted("graphs", "cuda"):
        by_graphs = partial(graph_search, model, config=config, n_best=n_best, buckets=buckets_of(model, device))
        return partial(first_trusted, by_graphs, plain)
    return plain


def first_trusted(by_graphs: Search, plain: Search, src: Tensor, src_mask: Tensor) -> list[list[Hypothesis]]:
    """Searches with graphs until a capture or replay fails, and without them from then on."""
    if trusted("graphs", "cuda"):
        try:
            return by_graphs(src, src_mask)
        except (BrokenModelError, torch.OutOfMemoryError):
            raise
        except RuntimeError as error:
            distrust("graphs", "cuda", error)
    return plain(src, src_mask)


def each(search: Callable[[np.ndarray], T], batches: Sequence[np.ndarray], device: torch.device | str) -> Iterator[T]:
    """Yields `search(batch)` for each batch, in order; on a CPU it searches one batch per thread at the same time.

    The matrices of a step are too small to split between threads. A single batch gets all threads.
    """
    threads = torch.get_num_threads()
    if torch.device(device).type != "cpu" or min(threads, len(batches)) < 2:
        yield from map(search, batches)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(search, batches)
    finally:
        torch.set_num_threads(threads)
