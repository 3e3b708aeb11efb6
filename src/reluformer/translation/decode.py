"""Many sources through the beam search: sorted by length, batched by tokens, returned in their own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from reluformer.corpus.subword import EOS, PAD
from reluformer.translation.config import TranslationConfig
from reluformer.translation.search import Decoder, Hypothesis, n_best_search


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Indices of sources of similar length, the longest first, so that a batch that does not fit fails at once.

    Args:
        lengths: [sources] tokens of each, EOS included.
        batch_tokens: most tokens of a batch, padding included; one source longer than that is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, batch_tokens // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def translate(
    model: Decoder, sources: Sequence[np.ndarray], config: TranslationConfig, device: torch.device | str = "cpu"
) -> list[Hypothesis]:
    """The best hypothesis for each source; see `translate_n_best`."""
    return [found[0] for found in translate_n_best(model, sources, config, 1, device)]


def translate_n_best(
    model: Decoder,
    sources: Sequence[np.ndarray],
    config: TranslationConfig,
    n_best: int,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """The `n_best` best hypotheses for each source, in the order of `sources`.

    Args:
        model: the decoder, in evaluation mode on `device`.
        sources: token ids of each source, without EOS.
        n_best: at most the beam; a source for which fewer were found has fewer.

    Raises:
        BrokenModelError: the model predicts NaN or infinity.
    """
    lengths = np.array([len(source) + 1 for source in sources], dtype=np.int64)
    hypotheses: dict[int, list[Hypothesis]] = {}
    for batch in length_batches(lengths, config.batch_tokens):
        src = np.full((len(batch), lengths[batch[0]]), PAD, dtype=np.int64)
        for row, index in enumerate(batch):
            src[row, : lengths[index]] = [*sources[index], EOS]
        mask = torch.from_numpy(np.arange(src.shape[1]) < lengths[batch, None])
        found = n_best_search(model, torch.from_numpy(src).to(device), mask.to(device), config, n_best)
        hypotheses.update(zip(batch.tolist(), found, strict=True))
    return [hypotheses[index] for index in range(len(sources))]
