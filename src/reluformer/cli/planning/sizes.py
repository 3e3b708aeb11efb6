"""How much text a run sees: the lengths of a prepared corpus, or lengths drawn from its configured sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reluformer.config.dataset import DatasetConfig, SizesConfig
from reluformer.config.run import split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.store import Store, view_folder

DRAWN = 20_000
"""Sequences drawn of a split that is not prepared."""

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One split: `pairs` sequences, and the lengths (subwords, EOS counted) of them or of a sample of them."""

    pairs: int
    src: Lengths
    tgt: Lengths

    def tokens(self, side: str) -> float:
        """Tokens of one side of the whole split."""
        return float(getattr(self, side).mean()) * self.pairs


@dataclass(frozen=True)
class Sizes:
    """The splits of a run's dataset, its vocabulary, and whether they are of the prepared corpus."""

    train: Split
    valid: Split
    test: Split
    vocabulary: int
    prepared: bool

    def splits(self) -> tuple[Split, Split, Split]:
        """The three splits."""
        return self.train, self.valid, self.test


def token_length(lengths: Lengths) -> float:
    """The length of the sequence that a token is in, on average over tokens: E[l²] / E[l]."""
    return float((lengths.astype(float) ** 2).sum() / lengths.sum())


def read_sizes(dataset: str, config: DatasetConfig, corpora: Path) -> Sizes:
    """The sizes of a run's dataset (`europarl7@across-1024`): of its prepared corpus where it is there.

    Raises `SettingsError` where it is neither prepared nor given `sizes`.
    """
    folder = view_folder(corpora, dataset)
    if (folder / "statistics.json").is_file():
        stores = {split: Store(folder / "store" / split) for split in ("train", "valid", "test")}
        splits = {
            name: Split(len(store), store.src_lengths + 1, store.tgt_lengths + 1) for name, store in stores.items()
        }
        return Sizes(**splits, vocabulary=stores["train"].vocabulary, prepared=True)
    if config.sizes is None:
        raise SettingsError(f"dataset {dataset}: not prepared, and its configuration gives no `sizes` to plan with")
    view = split_dataset(dataset)[1]
    packing, _, length = (view or "").rpartition("-")
    splits = {split: _draw(config.sizes, split, packing, int(length or 0)) for split in ("train", "valid", "test")}
    return Sizes(**splits, vocabulary=config.corpus.vocabulary, prepared=False)


def _draw(sizes: SizesConfig, split: str, packing: str, limit: int) -> Split:
    """A split of the configured size: sentences of gamma-distributed, documents of exponential length."""
    rng = np.random.default_rng(1)
    sentences = int(getattr(sizes, split))
    ratio = sizes.tgt_tokens / sizes.src_tokens
    longer = max(sizes.src_tokens, sizes.tgt_tokens)
    if not packing:
        shared = rng.gamma(2.0, 0.5, min(sentences, DRAWN))
        return Split(sentences, _whole(shared * sizes.src_tokens), _whole(shared * sizes.tgt_tokens))
    total = sentences * longer
    if packing == "across":
        pieces = limit - rng.uniform(0, longer, DRAWN)
    else:
        documents = rng.exponential(longer * sizes.sentences_per_document, DRAWN)
        full = np.repeat(float(limit), int((documents // limit).sum()))
        pieces = np.concatenate([full, documents % limit])
        rng.shuffle(pieces)
    pieces = np.maximum(pieces, min(longer, limit) / 2)
    pairs = max(1, round(total / float(pieces.mean())))
    pieces = pieces[: min(pairs, DRAWN)]
    src, tgt = (pieces / ratio, pieces) if ratio >= 1 else (pieces, pieces * ratio)
    return Split(pairs, _whole(src), _whole(tgt))


def _whole(lengths: NDArray[np.float64]) -> Lengths:
    return np.maximum(np.rint(lengths), 1).astype(np.int64) + 1
