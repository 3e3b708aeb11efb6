"""Speed and memory of preparing a corpus, at two sizes of the same synthetic text.

    python -m benchmarks.corpus
    python -m benchmarks.corpus --pairs 35000 --pairs 1700000      # the sizes of IWSLT14 and Europarl

Measures pairs per second (from text to token store), the peak memory of the main process plus that of every worker, and
the time from opening the store to the first batch; the rows compare the largest size with the smallest.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Row, run
from reluformer.config.dataset import CorpusConfig
from reluformer.corpus.batches import BatchSampler
from reluformer.corpus.prepare import prepare
from reluformer.corpus.store import Store

FILES = ("train.src", "train.tgt", "held.src", "held.tgt")
HELD = {"src": "held.src", "tgt": "held.tgt"}
CONFIG = {
    "reader": "lines",
    "archives": [{"name": name} for name in FILES],
    "files": {"train": {"src": "train.src", "tgt": "train.tgt"}, "valid": HELD, "test": HELD},
    "truecase": True,
}


class Cost(NamedTuple):
    """The cost of a preparation: pairs per second, peak memory in MiB, seconds from the store to the first batch."""

    speed: float
    memory: float
    opening: float


def sentences(seed: int) -> Iterator[str]:
    """Yields sentences of 5 to 45 words without end, from 50,000 synthetic words with a Zipf distribution."""
    rng = random.Random(seed)
    syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(50_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    while True:
        text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(5, 45)))
        yield f"{text.capitalize()}."


def measure(folder: Path, pairs: int, workers: int) -> tuple[float, float]:
    """Prepares the corpus in `folder`, in a process of its own; returns pairs per second and peak memory in MiB."""
    begin = time.perf_counter()
    archives = [folder / name for name in FILES]
    prepare(CorpusConfig.model_validate(CONFIG), "de", "en", archives, folder / "prepared", workers)
    seconds = time.perf_counter() - begin
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return pairs / seconds, own + workers * worker


def benchmark(pairs: int, workers: int) -> Cost:
    """Returns the cost of one size."""
    with tempfile.TemporaryDirectory(prefix="corpus-benchmark-") as name:
        folder = Path(name)
        for seed, side in enumerate(("src", "tgt")):
            lines = sentences(seed)
            for split, count in (("train", pairs), ("held", 1000)):
                text = "".join(f"{line}\n" for line in itertools.islice(lines, count))
                (folder / f"{split}.{side}").write_text(text, encoding="utf-8")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            speed, memory = pool.submit(measure, folder, pairs, workers).result()
        begin = time.perf_counter()
        store = Store(folder / "prepared" / "store" / "train")
        next(BatchSampler(store.src_lengths, store.tgt_lengths, batch_tokens=4096, seed=1))
        return Cost(speed, memory, time.perf_counter() - begin)


def rows(pairs: list[int] = [10_000, 60_000], workers: int = os.cpu_count() or 1) -> list[Row]:  # noqa: B006
    """Speed and memory of preparing a corpus: the largest of these numbers of pairs against the smallest."""
    costs = {count: benchmark(count, workers) for count in pairs}
    small, large = min(costs), max(costs)
    name, peer = f"corpus of {large:,} pairs", f"of {small:,} pairs"
    ours, theirs = costs[large], costs[small]
    return [
        Row(f"{name}: preparation", ours.speed, peer, theirs.speed, "pairs/s"),
        Row(f"{name}: peak memory", ours.memory, peer, theirs.memory, "MiB", less=True),
        Row(f"{name}: store to first batch", ours.opening, peer, theirs.opening, "s", less=True),
    ]


if __name__ == "__main__":
    run(rows)
