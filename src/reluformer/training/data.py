"""What a training reads: the token stores of its corpus, and their fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.store import Store, view_folder
from reluformer.model.files import MODEL_FILE, load_model
from reluformer.model.transformer import Transformer
from reluformer.training.checkpoints import fingerprint


class TrainingData(NamedTuple):
    """The corpus of one training."""

    train: Store
    valid: Store
    subword: Path
    """The subword model's file."""
    files: dict[str, str]
    """Every file that was read, by its name under the folder of corpora (or of results), with its SHA-256."""
    tgt: str = ""
    """The target language."""


def start_folder(corpora: Path, run: RunConfig) -> Path | None:
    """The folder of the run whose weights a training begins with; None if it begins with random ones."""
    start = run.training.start_from
    return corpora.parent / "runs" / start if start is not None else None


def load_start(model: Transformer, run: RunConfig, data: TrainingData, folder: Path) -> None:
    """Loads the weights of another run into a new model.

    Args:
        model: the model to fill.
        run: the run that begins with them.
        data: its corpus.
        folder: the other run's folder.

    Raises:
        SettingsError: where the other run has not ended, where it was trained with another subword model, or where its
            model has other parameters.
    """
    start, _ = load_model(folder)
    subword = f"{split_dataset(run.dataset)[0]}/{data.subword.name}"
    if json.loads((folder / "summary.json").read_text(encoding="utf-8"))["data"].get(subword) != data.files[subword]:
        raise SettingsError(f"{folder}: it was trained with another {subword}; train it again, or start from another")
    ours, theirs = ({name: tensor.shape for name, tensor in one.state_dict().items()} for one in (model, start))
    if ours != theirs:
        name = min(ours.items() ^ theirs.items())[0]
        raise SettingsError(
            f"{folder}: {name}: its model has {list(theirs.get(name, ()))}, that of {run.dataset}/{run.system} "
            f"{list(ours.get(name, ()))}; a training starts from a model of the same systems and sizes"
        )
    model.load_state_dict(start.state_dict())


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
        SettingsError: where the corpus has not been prepared, or the run to start from has not been trained.
    """
    view = view_folder(corpora, run.dataset)
    subword = corpora / split_dataset(run.dataset)[0] / "subword.model"
    for path in (view / "store" / "train", view / "store" / "valid", subword):
        if not path.exists():
            raise SettingsError(f"{path}: missing: the corpus of {run.dataset} is not prepared")
    stores = [path for part in ("train", "valid") for path in sorted((view / "store" / part).iterdir())]
    files = {str(path.relative_to(corpora)): fingerprint(path) for path in [subword, *stores] if path.is_file()}
    if (start := start_folder(corpora, run)) is not None:
        if not (start / MODEL_FILE).is_file():
            raise SettingsError(
                f"{start}: {run.dataset}/{run.system} starts from this run, which has not been trained: "
                f"first `reluformer train {run.training.start_from}`"
            )
        files[f"runs/{run.training.start_from}/{MODEL_FILE}"] = fingerprint(start / MODEL_FILE)
    return TrainingData(Store(view / "store" / "train"), Store(view / "store" / "valid"), subword, files, run.tgt)
