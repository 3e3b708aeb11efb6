"""Training speed: optimizer updates of ours and of the peers, in turns, on the same batches.

    python -m benchmarks.training                                  # the rows of `make bench`
    python -m benchmarks.training --shapes small --rounds 20       # one of the shapes
    python -m benchmarks.training --shapes iwslt --systems reluformer --no-peers     # ours alone

Peers: MarianMT (transformers), torch.nn.Transformer and JoeyNMT, with the same dimensions, dropout and label smoothing,
and AdamW. All get *our* batches, so that ratios compare computation only; the padding that our batches save has a row
of its own. Ours is the whole path of a training run: store, sampler, engine, loop. On a CPU, fp32; on a GPU, bf16 with
16,384 target tokens per batch, and each of our systems again with `training.compile`. Arithmetic is compared with the
measured peak of matrix products.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from benchmarks import text
from benchmarks.peer import Peer
from benchmarks.rows import ROOT, Row, paired, run, threads
from reluformer.benchmark.harness import matmul_peak
from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.corpus.batches import BatchSampler, Indices
from reluformer.corpus.store import Store
from reluformer.model.flops import TRAINING, forward_flops

PEERS = {"marian": "MarianMT", "torch": "nn.Transformer", "joeynmt": "JoeyNMT"}
GPU_TOKENS = 16_384
COMPILED = ", compiled"
VOCABULARY, HEADS, DROPOUT = 10_000, 4, 0.3


class Shape(NamedTuple):
    """The model and batches of a training run.

    Attributes:
        layers: encoder layers, and as many decoder layers.
        tokens: target tokens of a batch, on a CPU.
        length: length of every sentence; None for IWSLT's lengths.
        rounds: updates measured.
        target: target ratio to each peer, on a CPU and on a GPU.
    """

    layers: int
    width: int
    slots: int
    tokens: int = 4096
    length: int | None = None
    rounds: int = 6
    target: tuple[float, float] = (1.25, 2.0)


SHAPES = {"iwslt": Shape(6, 512, 1024), "small": Shape(2, 128, 256, rounds=20, target=(2.0, 2.0))}
IWSLT = SHAPES["iwslt"]._replace(rounds=10)
LONG = Shape(6, 512, 1024, length=1024, rounds=6)
GROWTH = Shape(2, 256, 512, tokens=2048)
WHY = {
    "small": "in a profile (4,096 tokens, two threads) 75 % of our update is matrix products, the same that the peers "
    "compute, mostly the vocabulary projection (50 %), at 160 to 200 GFLOP/s (AVX2 alone: 76 %, at its lower peak); "
    "then attention (10 %), softmax and loss (4 %), copies (3 %), dropout (2 %), layer norms (1 %)",
    "iwslt": "in a profile (1,024 tokens, one thread) 85 % of our update is matrix products, the same that the peers "
    "compute, at 75 to 105 GFLOP/s a core; then attention (5 %), copies, dropout and the optimizer",
    "reluformer at IWSLT lengths": "the two differ only in attention, which takes 25 ms per memory of 4,096 tokens "
    "with the penalty, and 37 ms by SDPA (one thread, with the gradient of the projection): 2 % of an update to gain",
    "reluformer at 1,024 tokens": "the two differ only in attention, a third of an update; ours computes at 196 to "
    "199 GFLOP/s, as large matrix products do, and the penalty adds 5 % to that (16 heads of 128, two threads)",
}
"""What bounds ours on a CPU, from torch's profiler."""


def rows(
    shapes: list[str] = list(SHAPES),  # noqa: B006
    systems: list[str] = ["transformer", "reluformer"],  # noqa: B006
    peers: bool = True,
    rounds: int = 0,
) -> list[Row]:
    """Training at these shapes: the first system against the peers, the others against it; then padding.

    rounds: updates measured; by default those of the shape.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="training-benchmark-") as name:
        folder = Path(name)
        for shape in shapes:
            results += against_peers(shape, Contest(SHAPES[shape], folder, rounds), systems[0], list(PEERS) * peers)
        if len(systems) > 1:
            results += against_transformer("IWSLT lengths", Contest(IWSLT, folder, rounds), systems, 1.0)
            results += against_transformer("1,024 tokens", Contest(LONG, folder, rounds), systems, 1.1)
        results += memory_growth(folder)
    return [*results, *padding()]


def memory_growth(folder: Path, early: int = 50, late: int = 200) -> Iterator[Row]:
    """Yields the row of a training's peak memory after `late` updates against that after `early`, on a CPU."""
    with Contest(GROWTH, folder) as contest:
        if contest.device != "cpu":
            return
        contest.add_ours("transformer")
        contest.batches = contest.batches[:1] * early
        contest.run()
        first = contest.peak_memory()["transformer"]
        contest.batches = contest.batches[:1] * (late - early)
        contest.run()
        name = f"training: peak memory after {late} updates"
        yield Row(name, contest.peak_memory()["transformer"], f"after {early}", first, "MB", 1 / 1.1, less=True)


def against_peers(name: str, contest: Contest, system: str, peers: list[str]) -> list[Row]:
    """Returns the rows of a system against every peer, and against the peak of matrix products."""
    with contest:
        contest.add_ours(system)
        for peer in peers:
            contest.add_peer(peer)
        speeds, held = contest.run(), contest.peak_memory()
    results = list(compiled_rows(f"training, {name}: ", speeds))
    ours, on_gpu = speeds[system], contest.device != "cpu"
    label, target = f"training, {name}: target tokens", contest.shape.target[on_gpu]
    results += [row(label, ours, PEERS[peer], speeds[peer], target, contest.why(name)) for peer in peers]
    memory = f"training, {name}: peak memory{' of the GPU' if on_gpu else ', libraries included'}"
    results += [Row(memory, held[system], PEERS[peer], held[peer], "MB", 1.0, less=True) for peer in peers]
    rate = contest.flops_per_token() * median(ours) / 1e9
    peak = matmul_peak("bf16" if on_gpu else "fp32", contest.device) / 1e9
    label = f"training, {name}: arithmetic"
    return [*results, Row(label, rate, "matmul peak", peak, "GFLOP/s", 0.35 if on_gpu else None)]


def against_transformer(name: str, contest: Contest, systems: list[str], target: float) -> Iterator[Row]:
    """Yields the rows of every further system against the first."""
    with contest:
        for system in systems:
            contest.add_ours(system)
        speeds = contest.run()
    first, *others = systems
    label = f"training at {name}: "
    for system in others:
        why = contest.why(f"{system} at {name}")
        yield row(label + system, speeds[system], f"our {first}", speeds[first], target, why)
    yield from compiled_rows(label, speeds)


def compiled_rows(label: str, speeds: dict[str, list[float]]) -> Iterator[Row]:
    """Yields the rows of systems trained with `training.compile`, against the same systems without it."""
    for name in [name for name in speeds if name.endswith(COMPILED)]:
        plain = name.removesuffix(COMPILED)
        yield row(label + name, speeds[name], f"our {plain}", speeds[plain], None, "")


def row(name: str, ours: list[float], peer: str, theirs: list[float], target: float | None, why: str) -> Row:
    """Returns a row of target tokens per second, compared turn by turn on the same batches."""
    middle, other, spread = paired(ours, theirs)
    return Row(name, middle, peer, other, "tokens/s", target, spread=spread, why=why)


def padding() -> list[Row]:
    """Returns the padded share of an epoch with IWSLT's lengths: in our batches, and sorted by target length."""
    src, tgt = text.lengths(text.PAIRS)
    sampler = BatchSampler(src, tgt, batch_tokens=4096, seed=1)
    ours = padded_share(src, tgt, list(sampler.epoch_batches(0)))
    order = np.lexsort((src, tgt))
    ends = np.cumsum(tgt[order] + 1)
    sorted_by_target = np.split(order, np.flatnonzero(np.diff((ends - 1) // 4096)) + 1)
    usual = padded_share(src, tgt, sorted_by_target)
    label = "padding of IWSLT-like batches"
    return [
        Row(label, 100 * ours, "limit", 5.0, "% of tokens", 1.0, less=True),
        Row(label, 100 * ours, "sorted by target length", 100 * usual, "% of tokens", less=True),
    ]


def padded_share(src: np.ndarray, tgt: np.ndarray, batches: list[Indices]) -> float:
    """Returns the share of positions, source and target, that hold no token."""
    places = sum(len(batch) * int(src[batch].max() + tgt[batch].max() + 2) for batch in batches)
    return 1 - (src.sum() + tgt.sum() + 2 * len(src)) / places


class Contest(ExitStack):
    """Workers that train one shape on the same batches, update by update in turns; a context manager.

    Args:
        folder: holds the corpora, which contests share.
        rounds: updates measured; 0: those of the shape.
    """

    def __init__(self, shape: Shape, folder: Path, rounds: int = 0) -> None:
        super().__init__()
        self.shape, self.folder = shape, folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokens = shape.tokens if self.device == "cpu" else GPU_TOKENS
        self.dataset = f"length-{shape.length or 'iwslt'}"
        if (folder / self.dataset).is_dir():
            self.store = Store(folder / self.dataset / "store" / "train")
        else:
            sides = text.lengths(text.PAIRS)
            if shape.length:
                sides = (np.full(4000, shape.length - 1),) * 2  # without EOS
            self.store = text.write_corpus(folder, self.dataset, VOCABULARY, sides)
        self.model = ModelConfig(
            encoder_layers=shape.layers,
            decoder_layers=shape.layers,
            width=shape.width,
            slots=shape.slots,
            heads=HEADS,
            vocabulary=VOCABULARY,
            dropout=DROPOUT,
        )
        sampler = BatchSampler(self.store.src_lengths, self.store.tgt_lengths, batch_tokens=self.tokens, seed=1)
        self.batches = [next(sampler).micro[0] for _ in range((rounds or shape.rounds) + 1)]  # the first one warms up
        self._updates: dict[str, Callable[[int], float]] = {}
        self._workers: dict[str, Peer] = {}

    def why(self, name: str) -> str:
        """Returns what bounds ours on a CPU, if it was profiled."""
        return WHY.get(name, "") if self.device == "cpu" else ""

    def add_ours(self, system: str) -> None:
        """Adds one of our systems; on a GPU also with `training.compile`."""
        self._add_ours(system, system, compiled=False)
        if self.device != "cpu":
            self._add_ours(system + COMPILED, system, compiled=True)

    def _add_ours(self, name: str, system: str, compiled: bool) -> None:
        systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
        precision = "fp32" if self.device == "cpu" else "bf16"
        settings: dict[str, Any] = {
            **{"dataset": self.dataset, "system": system, "seed": 1, "src": "de", "tgt": "en"},
            "model": self.model.model_dump() | SystemConfig(**systems[system]).memories(),
            "training": {"batch_tokens": self.tokens, "precision": precision, "compile": compiled},
            "translation": {},
        }
        worker = self.enter_context(Peer("train_ours", threads(), Path(sys.executable)))
        own = self.folder / f"{self.dataset}-{name}"
        worker.call("build", run=settings, corpora=str(self.folder), folder=str(own))
        self._updates[name], self._workers[name] = lambda index: worker.call("update"), worker

    def add_peer(self, name: str) -> None:
        """Adds one of the peers, which trains on our batches."""
        worker = self.enter_context(Peer(f"train_{name}", threads()))
        shape = {"layers": self.shape.layers, "width": self.shape.width, "slots": self.shape.slots, "heads": HEADS}
        shape |= {"vocabulary": VOCABULARY, "dropout": DROPOUT}
        worker.call("build", shape=shape, device=self.device, autocast=self.device != "cpu")
        sides = {"src": self.store.src, "tgt": self.store.tgt}
        batches = [
            {side: [read(int(i)).tolist() for i in batch] for side, read in sides.items()} for batch in self.batches
        ]
        worker.call("load", batches=batches)
        self._updates[name], self._workers[name] = lambda index: worker.call("update", index=index), worker

    def run(self) -> dict[str, list[float]]:
        """Returns the target tokens per second of each worker, update by update."""
        speeds: dict[str, list[float]] = {name: [] for name in self._updates}
        for index, batch in enumerate(self.batches):
            tokens = int(self.store.tgt_lengths[batch].sum()) + len(batch)
            for name, update in self._updates.items():
                seconds = update(index)
                if index:
                    speeds[name].append(tokens / seconds)
        return speeds

    def peak_memory(self) -> dict[str, float]:
        """Returns the largest memory of each worker so far, MB: resident, or on a GPU allocated there."""
        if self.device != "cpu":
            return {name: worker.call("gpu_memory") for name, worker in self._workers.items()}
        return {name: worker.peak_memory() for name, worker in self._workers.items()}

    def flops_per_token(self) -> float:
        """Returns the FLOPs per target token, padding included."""
        src, tgt = self.store.src_lengths + 1, self.store.tgt_lengths + 1
        layers = self.model.model_copy(update={"vocabulary": 0})
        total, real = 0.0, 0
        for batch in self.batches[1:]:
            lengths = int(src[batch].max()), int(tgt[batch].max())
            total += forward_flops(layers, *(len(batch) * length for length in lengths), *lengths)
            real += int(tgt[batch].sum())
        return TRAINING * (total / real + 2 * self.model.width * self.model.vocabulary)


if __name__ == "__main__":
    run(rows)
