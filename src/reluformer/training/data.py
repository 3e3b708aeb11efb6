"""The inputs of a training run: token stores, initial weights, and an endless loader of updates."""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.batches import Batch, BatchSampler, collate
from reluformer.corpus.store import Store, view_folder
from reluformer.files import sha256
from reluformer.model.files import MODEL_FILE, load_model
from reluformer.model.transformer import Transformer

AHEAD = 2
"""Updates to prepare while the GPU computes one."""


class TrainingData(NamedTuple):
    """The corpus and initial weights of a training run."""

    train: Store
    valid: Store
    subword: Path  # the subword model
    files: dict[str, str]  # SHA-256 of each input file, by its path relative to the folder of corpora (or results)
    tgt: str  # target language
    start: Path | None  # the run that gives the initial weights; None: random weights

    @property
    def longest(self) -> int:
        """Length of the longest sequence in tokens, EOS included."""
        sides = [side for store in (self.train, self.valid) for side in (store.src_lengths, store.tgt_lengths)]
        return 1 + max(int(lengths.max(initial=0)) for lengths in sides)


def open_data(corpora: Path, run: RunConfig) -> TrainingData:
    """Opens the prepared corpus of a run.

    Raises:
        SettingsError: the corpus is not prepared, or the run to start from is not trained.
    """
    view = view_folder(corpora, run.dataset)
    subword = corpora / split_dataset(run.dataset)[0] / "subword.model"
    for path in (view / "store" / "train", view / "store" / "valid", subword):
        if not path.exists():
            raise SettingsError(f"{path}: missing: the corpus of {run.dataset} is not prepared")
    stores = [path for split in ("train", "valid") for path in sorted((view / "store" / split).iterdir())]
    files = {str(path.relative_to(corpora)): sha256(path) for path in [subword, *stores] if path.is_file()}
    start = None
    if run.training.start_from is not None:
        start = corpora.parent / "runs" / run.training.start_from
        if not (start / MODEL_FILE).is_file():
            raise SettingsError(
                f"{start}: {run.dataset}/{run.system} starts from this run, which is not trained: "
                f"run `reluformer train {run.training.start_from}` first"
            )
        files[f"runs/{run.training.start_from}/{MODEL_FILE}"] = sha256(start / MODEL_FILE)
    train, valid = (Store(view / "store" / split) for split in ("train", "valid"))
    return TrainingData(train, valid, subword, files, run.tgt, start)


def load_start(model: Transformer, run: RunConfig, data: TrainingData) -> None:
    """Loads the weights of the run in `data.start`, if any, into the new `model` of `run`.

    Raises:
        SettingsError: the other run has not finished, or its subword model or parameters differ.
    """
    if (folder := data.start) is None:
        return
    start, _ = load_model(folder)
    subword = f"{split_dataset(run.dataset)[0]}/{data.subword.name}"
    if json.loads((folder / "summary.json").read_text(encoding="utf-8"))["data"].get(subword) != data.files[subword]:
        raise SettingsError(f"{folder}: trained with another {subword}; retrain it, or start from another run")
    ours, theirs = ({name: tensor.shape for name, tensor in net.state_dict().items()} for net in (model, start))
    if ours != theirs:
        name = min(ours.items() ^ theirs.items())[0]
        raise SettingsError(
            f"{folder}: {name}: its model has {list(theirs.get(name, ()))}, that of {run.dataset}/{run.system} "
            f"{list(ours.get(name, ()))}; start from a run whose model has the same parameters"
        )
    model.load_state_dict(start.state_dict())


class LoadedUpdate(NamedTuple):
    """The batches of one optimizer update in this process."""

    micro: list[Batch[Tensor]]  # on the device
    target_tokens: int  # of the whole global batch
    epoch: int
    positions: int  # source and target positions of this process, padding included
    filled: int  # positions that hold a token


class PrefetchLoader:
    """An endless iterator over `LoadedUpdate`; its state does not include prefetched updates.

    For a GPU, a thread collates the next updates into pinned memory and the copies are asynchronous; on a CPU, where
    there is nothing to overlap with, `next` collates.

    An error in the sampler or the store is raised by the `next` call that would have returned its update.
    """

    def __init__(self, sampler: BatchSampler, store: Store, device: torch.device) -> None:
        self._sampler, self._store, self._device = sampler, store, device
        self._state = sampler.state_dict()
        self._thread: ThreadPoolExecutor | None = None
        self._pending: deque[Future[tuple[LoadedUpdate, dict[str, Any]]]] = deque()

    def __iter__(self) -> PrefetchLoader:
        return self

    def __next__(self) -> LoadedUpdate:
        update, self._state = self._prepare() if self._device.type == "cpu" else self._next_pending()
        micro = [batch.map(lambda x: x.to(self._device, non_blocking=True)) for batch in update.micro]
        return update._replace(micro=micro)

    def state_dict(self) -> dict[str, Any]:
        """Returns the sampler's state after the last update returned."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state and drops prefetched updates."""
        self.close()
        self._sampler.load_state_dict(state)
        self._state = self._sampler.state_dict()

    def close(self) -> None:
        """Stops the thread and drops prefetched updates, which `next` will return later."""
        if self._thread is None:
            return
        self._thread.shutdown(cancel_futures=True)
        self._thread = None
        self._pending.clear()
        self._sampler.load_state_dict(self._state)

    def _next_pending(self) -> tuple[LoadedUpdate, dict[str, Any]]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "prefetch", initializer=self._set_device)
        while len(self._pending) <= AHEAD:
            self._pending.append(self._thread.submit(self._prepare))
        return self._pending.popleft().result()

    def _set_device(self) -> None:
        """Makes the GPU the thread's current device, to which pinned memory belongs."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _prepare(self) -> tuple[LoadedUpdate, dict[str, Any]]:
        """Returns the next update in host memory, and the sampler's state after it."""
        update = next(self._sampler)
        batches = [collate(self._store, indices) for indices in update.micro]
        positions = sum(batch.src.size + batch.tgt_in.size for batch in batches)
        filled = sum(int(batch.src_mask.sum()) + batch.real.size for batch in batches)
        micro = [batch.map(self._on_host) for batch in batches]
        return LoadedUpdate(micro, update.target_tokens, update.epoch, positions, filled), self._sampler.state_dict()

    def _on_host(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self._device.type == "cuda" else tensor
