"""What a training reads: the token stores of its corpus, and their fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from reluformer.corpus.store import Store, view_folder
from reluformer.run import RunConfig, split_dataset
from reluformer.settings import SettingsError
from reluformer.training.checkpoints import fingerprint


class TrainingData(NamedTuple):
    """The corpus of one training."""

    train: Store
    valid: Store
    subword: Path
    """The subword model's file."""
    files: dict[str, str]
    """Every file that was read, by its name under the folder of corpora, with its SHA-256."""


def open_data(corpora: Path, run: RunConfig) -> TrainingData:
    """The prepared corpus of a run.

    Args:
        corpora: the folder of prepared corpora.
        run: its dataset names the corpus and the segmentation.

    Raises:
        SettingsError: where the corpus has not been prepared.
    """
    view = view_folder(corpora, run.dataset)
    subword = corpora / split_dataset(run.dataset)[0] / "subword.model"
    for path in (view / "store" / "train", view / "store" / "valid", subword):
        if not path.exists():
            raise SettingsError(f"{path}: missing: the corpus of {run.dataset} is not prepared")
    stores = [path for part in ("train", "valid") for path in sorted((view / "store" / part).iterdir())]
    files = {str(path.relative_to(corpora)): fingerprint(path) for path in [subword, *stores] if path.is_file()}
    return TrainingData(Store(view / "store" / "train"), Store(view / "store" / "valid"), subword, files)


def validation_batches(store: Store, tokens: int) -> list[np.ndarray]:
    """All of `store` in batches of similar lengths, at most `tokens` padded target positions each (one pair at least).

    Returns:
        indices into the store; the order depends on nothing but the lengths.
    """
    lengths = np.asarray(store.tgt_lengths) + 1
    order = np.lexsort((np.asarray(store.src_lengths), lengths))
    batches: list[np.ndarray] = []
    start = 0
    for end in range(1, len(order) + 1):
        longest_with_next = lengths[order[end]] if end < len(order) else 0
        if end == len(order) or longest_with_next * (end + 1 - start) > tokens:
            batches.append(order[start:end])
            start = end
    return batches
