"""Training speed: one optimizer update of ours and of the peers, in turns, on the same sentences in the same batches.

    python -m benchmarks.training                                  # the rows of `make bench`
    python -m benchmarks.training --shapes small --rounds 20       # one of the shapes
    python -m benchmarks.training --corpora results/corpora --dataset iwslt14     # real text
    python -m benchmarks.training --shapes iwslt --systems reluformer --peers     # ours alone

Peers: MarianMT (transformers), torch.nn.Transformer and JoeyNMT, at the same dimensions, dropout and label smoothing,
with AdamW. All get *our* batches, so that a ratio is one of computation; what our batches save in padding is a row of
its own. Ours is the whole path of a training: store, sampler, engine, loop. On a CPU fp32, on a GPU bf16 with 16,384
target tokens a batch, the share of the measured matmul peak, and each of our systems once more with `training.compile`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from benchmarks import text
from benchmarks.peer import Peer
from benchmarks.rows import ROOT, Row, paired, table, threads
from reluformer.benchmark.harness import matmul_peak
from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.corpus.batches import BatchSampler, Indices
from reluformer.corpus.store import Store, view_folder
from reluformer.model.flops import TRAINING, forward_flops

PEERS = ("marian", "torch", "joeynmt")
TITLES = {"marian": "MarianMT", "torch": "nn.Transformer", "joeynmt": "JoeyNMT"}
GPU_TOKENS = 16_384
COMPILED = ", compiled"


class Shape(NamedTuple):
    """What is trained: `layers` on each side, width, slots; batches of `tokens` target tokens.

    length: of every sentence; none for IWSLT's. rounds: updates measured. target: of the ratio to each peer, on a CPU
    and on a GPU.
    """

    layers: int
    width: int
    slots: int
    tokens: int = 4096
    length: int | None = None
    rounds: int = 6
    target: tuple[float, float] = (1.25, 2.0)


SHAPES = {
    "iwslt": Shape(6, 512, 1024),
    "small": Shape(2, 128, 256, rounds=20, target=(2.0, 2.0)),
}
IWSLT = SHAPES["iwslt"]._replace(rounds=10)
LONG = Shape(6, 512, 1024, length=1024, rounds=6)
VOCABULARY = 10_000
HEADS = 4
DROPOUT = 0.3
WHY = {
    "small": "in a profile (4,096 tokens, two threads) 75 % of our update is matrix products, the same that the peers "
    "compute, most of them of the vocabulary's projection (50 %), at 160 to 200 GFLOP/s; then attention (10 %), "
    "softmax and loss (4 %), copies (3 %), dropout (2 %), layer norms (1 %)",
    "iwslt": "in a profile (1,024 tokens, one thread) 85 % of our update is matrix products, the same that the peers "
    "compute, at 75 to 105 GFLOP/s a core; then attention (5 %), copies, dropout and the optimizer",
    "reluformer at IWSLT lengths": "the two differ in attention alone, which takes 25 ms a memory of 4,096 tokens with "
    "the penalty, and 37 by SDPA (one thread, with the gradient of the projection): 2 % of an update is to be had",
    "reluformer at 1,024 tokens": "the two differ in attention alone, a third of an update; ours computes at 196 to "
    "199 GFLOP/s, as large matrix products do, and the penalty adds 5 % to that (16 heads of 128, two threads)",
}
"""What bounds ours on a CPU, by shape; from torch's profiler."""


def rows() -> list[Row]:
    """Every row at the default sizes."""
    return compare(parser().parse_args([]))


def compare(options: argparse.Namespace) -> list[Row]:
    """The rows of the chosen shapes, then ReLUFormer against the Transformer, then padding."""
    found = []
    with tempfile.TemporaryDirectory(prefix="training-benchmark-") as folder:
        for name in options.shapes:
            found += against_peers(name, SHAPES[name], options, Path(folder))
        if len(options.systems) > 1:
            found += against_transformer("IWSLT lengths", IWSLT, 1.0, options, Path(folder))
            found += against_transformer("1,024 tokens", LONG, 1.1, options, Path(folder))
    return [*found, *padding()]


def against_peers(name: str, shape: Shape, options: argparse.Namespace, folder: Path) -> list[Row]:
    """Our first system against every peer, and the share of the matmul peak that it reaches."""
    with Contest(shape, options, folder) as contest:
        contest.add_ours(options.systems[0])
        for peer in options.peers:
            contest.add_peer(peer)
        speeds = contest.run()
    found = list(compiled_rows(f"training, {name}: ", speeds))
    ours = speeds.pop(options.systems[0])
    label = f"training, {name}: target tokens"
    target = shape.target[contest.device != "cpu"]
    found += [row(label, ours, TITLES[peer], speeds[peer], target, contest.why(name)) for peer in options.peers]
    rate = contest.flops_per_token() * median(ours) / 1e9
    peak = matmul_peak("fp32" if contest.device == "cpu" else "bf16", contest.device) / 1e9
    label = f"training, {name}: arithmetic"
    least = None if contest.device == "cpu" else 0.35
    return [*found, Row(label, rate, "matmul peak", peak, "GFLOP/s", least)]


def against_transformer(
    name: str, shape: Shape, target: float, options: argparse.Namespace, folder: Path
) -> Iterator[Row]:
    """Every further system against the first."""
    with Contest(shape, options, folder) as contest:
        for system in options.systems:
            contest.add_ours(system)
        speeds = contest.run()
    first, *others = options.systems
    label = f"training at {name}: "
    for system in others:
        why = contest.why(f"{system} at {name}")
        yield row(label + system, speeds[system], f"our {first}", speeds[first], target, why)
    yield from compiled_rows(label, speeds)


def compiled_rows(label: str, speeds: dict[str, list[float]]) -> Iterator[Row]:
    """Every system that was also trained with `training.compile`, against the same without."""
    for name in [name for name in speeds if name.endswith(COMPILED)]:
        plain = name.removesuffix(COMPILED)
        yield row(label + name, speeds.pop(name), f"our {plain}", speeds[plain], None, "")


def row(name: str, ours: list[float], peer: str, theirs: list[float], target: float | None, why: str) -> Row:
    """A row of target tokens a second, turn by turn on the same batches."""
    middle, other, spread = paired(ours, theirs)
    return Row(name, middle, peer, other, "tokens/s", target, spread=spread, why=why)


def padding() -> list[Row]:
    """The padded share of an epoch of batches of IWSLT's lengths: ours, and sorted by target length as is usual."""
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
    """The share of positions, source and target, that hold no token."""
    places = sum(len(batch) * int(src[batch].max() + tgt[batch].max() + 2) for batch in batches)
    return 1 - (src.sum() + tgt.sum() + 2 * len(src)) / places


class Contest:
    """Workers that train the same shape on the same batches, update by update in turns; a context manager."""

    def __init__(self, shape: Shape, options: argparse.Namespace, folder: Path) -> None:
        self.shape, self.options = shape, options
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokens = options.tokens or (shape.tokens if self.device == "cpu" else GPU_TOKENS)
        self.rounds = options.rounds or shape.rounds
        self.corpora, self.dataset, self.folder = folder, f"length-{shape.length or 'iwslt'}", folder
        if options.corpora and shape.length is None:
            self.corpora, self.dataset = options.corpora, options.dataset
            self.store = Store(view_folder(self.corpora, self.dataset) / "store" / "train")
        elif (folder / self.dataset).is_dir():
            self.store = Store(folder / self.dataset / "store" / "train")
        else:
            sides = text.fixed_lengths(4000, shape.length) if shape.length else text.lengths(text.PAIRS)
            self.store = text.write_corpus(folder, self.dataset, VOCABULARY, sides)
        self.model = ModelConfig(
            encoder_layers=shape.layers,
            decoder_layers=shape.layers,
            width=shape.width,
            slots=shape.slots,
            heads=HEADS,
            vocabulary=self.store.vocabulary,
            dropout=DROPOUT,
        )
        sampler = BatchSampler(self.store.src_lengths, self.store.tgt_lengths, batch_tokens=self.tokens, seed=1)
        self.batches = [next(sampler).micro[0] for _ in range(self.rounds + 1)]  # the first one warms up
        self._stack = ExitStack()
        self._updates: dict[str, Any] = {}

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def why(self, name: str) -> str:
        """What bounds ours, where it was profiled."""
        return WHY.get(name, "") if self.device == "cpu" else ""

    def add_ours(self, system: str) -> None:
        """One of our systems; on a GPU also with `training.compile`."""
        self._add_ours(system, system, compiled=False)
        if self.device != "cpu":
            self._add_ours(system + COMPILED, system, compiled=True)

    def _add_ours(self, name: str, system: str, compiled: bool) -> None:
        training = {"batch_tokens": self.tokens, "precision": "fp32" if self.device == "cpu" else "bf16"}
        systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
        run = {
            "dataset": self.dataset,
            "system": system,
            "seed": 1,
            "src": "de",
            "tgt": "en",
            "model": self.model.model_dump() | SystemConfig(**systems[system]).memories(),
            "training": training | {"compile": compiled},
            "translation": {},
        }
        worker = self._stack.enter_context(Peer("train_ours", threads(), Path(sys.executable)))
        own = self.folder / f"{self.dataset}-{name}"
        worker.call("build", run=run, corpora=str(self.corpora), folder=str(own))
        self._updates[name] = lambda index: worker.call("update")

    def add_peer(self, name: str) -> None:
        """One of the peers, with our batches."""
        worker = self._stack.enter_context(Peer(f"train_{name}", threads()))
        shape = {"layers": self.shape.layers, "width": self.shape.width, "slots": self.shape.slots, "heads": HEADS}
        shape |= {"vocabulary": self.store.vocabulary, "dropout": DROPOUT}
        worker.call("build", shape=shape, device=self.device, autocast=self.device != "cpu")
        sides = {"src": self.store.src, "tgt": self.store.tgt}
        batches = [
            {side: [read(int(i)).tolist() for i in batch] for side, read in sides.items()} for batch in self.batches
        ]
        worker.call("load", batches=batches)
        self._updates[name] = lambda index: worker.call("update", index=index)

    def run(self) -> dict[str, list[float]]:
        """Target tokens a second of each, update by update."""
        speeds: dict[str, list[float]] = {name: [] for name in self._updates}
        for index, batch in enumerate(self.batches):
            tokens = int(self.store.tgt_lengths[batch].sum()) + len(batch)
            for name, update in self._updates.items():
                seconds = update(index)
                if index:
                    speeds[name].append(tokens / seconds)
            if self.options.verbose:
                print({name: round(values[-1]) for name, values in speeds.items() if values}, flush=True)
        return speeds

    def flops_per_token(self) -> float:
        """Operations for each target token, padding included."""
        src, tgt = self.store.src_lengths + 1, self.store.tgt_lengths + 1
        layers = self.model.model_copy(update={"vocabulary": 0})
        total, real = 0.0, 0
        for batch in self.batches[1:]:
            lengths = int(src[batch].max()), int(tgt[batch].max())
            total += forward_flops(layers, *(len(batch) * length for length in lengths), *lengths)
            real += int(tgt[batch].sum())
        return TRAINING * (total / real + 2 * self.model.width * self.model.vocabulary)


def parser() -> argparse.ArgumentParser:
    """The options and their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--systems", nargs="+", default=["transformer", "reluformer"], help="the first meets the peers")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--tokens", type=int, help="target tokens of a batch")
    parser.add_argument("--rounds", type=int, help="updates measured, after one that warms up")
    parser.add_argument("--corpora", type=Path, help="prepared corpora: real text in place of made-up text")
    parser.add_argument("--dataset", default="iwslt14")
    parser.add_argument("--verbose", action="store_true", help="print every round")
    return parser


def main() -> None:
    """Runs the benchmark."""
    print(table([row.record() for row in compare(parser().parse_args())]))


if __name__ == "__main__":
    main()
