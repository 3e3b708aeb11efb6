"""Speed and memory of the whole preparation of a corpus, at two sizes of the same text.

    python -m benchmarks.corpus                                   # made-up text with a Zipf vocabulary
    python -m benchmarks.corpus --src train.de --tgt train.en     # real line-aligned text, repeated to reach each size
    python -m benchmarks.corpus --pairs 35000 1700000             # the sizes of IWSLT14 and Europarl

Prints one line a size: pairs a second (reading to token store), and peak memory of the main process plus that of every
worker; then how long opening the store and the first batch take, and the ratio of the memories.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Row, table
from reluformer.config.dataset import CorpusConfig
from reluformer.corpus.batches import BatchSampler
from reluformer.corpus.prepare import prepare
from reluformer.corpus.store import Store

SIZES = (10_000, 60_000)
FILES = ("train.src", "train.tgt", "held.src", "held.tgt")


def made_up(seed: int) -> Iterator[str]:
    """Endless sentences of 5 to 45 words from 50,000 made-up words, frequent ones first (Zipf)."""
    rng = random.Random(seed)
    syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(50_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    while True:
        text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(5, 45)))
        yield f"{text.capitalize()}."


def repeated(path: Path) -> Iterator[str]:
    """The lines of a file over and over."""
    while True:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")


def write(path: Path, lines: Iterator[str], count: int) -> None:
    """The first `count` lines as a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in itertools.islice(lines, count))


def measure(folder: Path, workers: int, src: str, tgt: str) -> None:
    """Prepares the corpus in `folder` and writes seconds and memory as JSON; runs in a process of its own."""
    config = CorpusConfig.model_validate(
        {
            "reader": "lines",
            "archives": [{"name": name} for name in FILES],
            "files": {
                "train": {"src": "train.src", "tgt": "train.tgt"},
                "valid": {"src": "held.src", "tgt": "held.tgt"},
                "test": {"src": "held.src", "tgt": "held.tgt"},
            },
            "truecase": True,
        }
    )
    begin = time.perf_counter()
    prepare(config, src, tgt, [folder / name for name in FILES], folder / "prepared", workers)
    seconds = time.perf_counter() - begin
    main, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    (folder / "measured.json").write_text(json.dumps({"seconds": seconds, "main": main, "worker": child}))


class Cost(NamedTuple):
    """What a preparation took: pairs a second, peak memory in MiB, and seconds from the store to a first batch."""

    speed: float
    memory: float
    opening: float


def benchmark(pairs: int, sides: dict[str, Iterator[str]], workers: int, languages: list[str]) -> Cost:
    """Prints the figures of one size, and returns them."""
    folder = Path(tempfile.mkdtemp(prefix="corpus-benchmark-"))
    try:
        for side, lines in sides.items():
            write(folder / f"train.{side}", lines, pairs)
            write(folder / f"held.{side}", lines, 1000)
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(folder, workers, *languages))
        process.start()
        process.join()
        cost = json.loads((folder / "measured.json").read_text())
        seconds, memory = cost["seconds"], cost["main"] + workers * cost["worker"]
        print(
            f"{pairs:>9,} pairs: {pairs / seconds:,.0f} pairs/s ({seconds:.1f} s, {workers} workers), "
            f"{memory:.0f} MiB = {cost['main']:.0f} + {workers} x {cost['worker']:.0f}",
            flush=True,
        )
        begin = time.perf_counter()
        store = Store(folder / "prepared" / "store" / "train")
        opened = time.perf_counter()
        next(BatchSampler(store.src_lengths, store.tgt_lengths, batch_tokens=4096, seed=1))
        first = time.perf_counter()
        print(f"{'':>9}  store opened in {opened - begin:.3f} s, first batch after {first - opened:.3f} s", flush=True)
        return Cost(pairs / seconds, memory, first - begin)
    finally:
        shutil.rmtree(folder)


def rows() -> list[Row]:
    """Speed and memory at the default sizes: the larger against the smaller."""
    return compare(list(SIZES), {side: made_up(seed) for seed, side in enumerate(("src", "tgt"))})


def compare(
    sizes: list[int],
    sides: dict[str, Iterator[str]],
    workers: int = os.cpu_count() or 1,
    languages: Sequence[str] = ("de", "en"),
) -> list[Row]:
    """The cost of the largest of the sizes against that of the smallest."""
    costs = {pairs: benchmark(pairs, sides, workers, list(languages)) for pairs in sizes}
    small, large = min(costs), max(costs)
    name, peer = f"corpus of {large:,} pairs", f"of {small:,} pairs"
    ours, theirs = costs[large], costs[small]
    return [
        Row(f"{name}: preparation", ours.speed, peer, theirs.speed, "pairs/s"),
        Row(f"{name}: peak memory", ours.memory, peer, theirs.memory, "MiB", less=True),
        Row(f"{name}: store to first batch", ours.opening, peer, theirs.opening, "s", less=True),
    ]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, help="a text file; with --tgt, real text in place of made-up text")
    parser.add_argument("--tgt", type=Path)
    parser.add_argument("--languages", nargs=2, default=["de", "en"], metavar=("SRC", "TGT"))
    parser.add_argument("--pairs", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    given = {"src": arguments.src, "tgt": arguments.tgt}
    sides = {side: repeated(path) if path else made_up(seed) for seed, (side, path) in enumerate(given.items())}
    rows = compare(arguments.pairs, sides, arguments.workers, arguments.languages)
    print(table([row.record() for row in rows]))


if __name__ == "__main__":
    main()
