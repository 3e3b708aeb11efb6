"""What a training reads: the token stores of its corpus, and their fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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


def longest(data: TrainingData) -> int:
    """Tokens of the longest sequence, with its EOS."""
    sides = [side for store in (data.train, data.valid) for side in (store.src_lengths, store.tgt_lengths)]
    return 1 + max(int(lengths.max(initial=0)) for lengths in sides)


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
