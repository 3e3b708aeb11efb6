"""Token stores of synthetic text with the lengths of IWSLT14 German-English.

Lengths in subwords (10,000 joint BPE) are log-normal: the median target is 19 and the mean 23; a source is about as
long as its target, give or take a quarter. Ids follow Zipf's law.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reluformer.corpus.store import Sequences, Store, StoreWriter
from reluformer.corpus.subword import train

PAIRS = 160_000
"""The training pairs of IWSLT14 De-En."""
SPECIAL = 5
"""Ids below this stand for no subword."""


def lengths(pairs: int, longest: int = 175) -> tuple[np.ndarray, np.ndarray]:
    """Returns source and target lengths, int [pairs] each, without EOS."""
    rng = np.random.default_rng(0)
    tgt = rng.lognormal(np.log(19.0), 0.62, pairs)
    src = tgt * rng.lognormal(0.03, 0.22, pairs)
    return tuple(np.clip(np.rint(side), 1, longest).astype(np.int64) for side in (src, tgt))


def write_corpus(
    corpora: Path, name: str, vocabulary: int, sides: tuple[np.ndarray, np.ndarray], pieces: bool = False
) -> Store:
    """Writes a corpus of random ids with these lengths; returns its training split.

    pieces: also train a subword model; otherwise its file is empty.
    """
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, vocabulary - SPECIAL + 1)
    for split, most in (("train", None), ("valid", 200)):
        sequences = []
        for side in sides:
            ids = SPECIAL + rng.choice(len(share), int(side[:most].sum()), p=share / share.sum())
            sequences.append(Sequences(ids.astype("<u4"), side[:most]))
        with StoreWriter(corpora / name / "store" / split, vocabulary, documents=False) as store:
            store.add(*sequences)
    model = corpora / name / "subword.model"
    model.touch()
    if pieces:
        words = ["".join(rng.choice(list("abcdefghij"), size)) for size in rng.integers(2, 9, 20_000)]
        train(dict.fromkeys(words, 1), vocabulary, model)
    return Store(corpora / name / "store" / "train")
