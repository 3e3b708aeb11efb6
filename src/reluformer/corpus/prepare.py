"""The preparation of a corpus: archives in; text, subword model, token store, statistics and provenance out.

Four passes, each a stream through all workers in bounded memory: read, tokenise and clean; (learn and apply
truecasing;) count the words and learn the subwords; encode.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from reluformer.config.dataset import ArchiveConfig, CorpusConfig
from reluformer.config.evaluation import has_spaces
from reluformer.config.run import side_names
from reluformer.corpus import CorpusError, subword
from reluformer.corpus.moses import Truecaser, count_casings, tokenise, write_truecaser
from reluformer.corpus.pairs import SPLITS, Cleaner, Pair, held_out_texts, one_line
from reluformer.corpus.readers import read
from reluformer.corpus.store import SIDES, Sequences, Store, StoreWriter, length_distribution
from reluformer.corpus.subword import UNK, Subword
from reluformer.files import sha256, write_json
from reluformer.ops.process import die_with_parent

CHUNK = 2000
"""Number of pairs or lines per task of a worker."""

# Models loaded once per process.
_truecaser, _subword = lru_cache(maxsize=1)(Truecaser), lru_cache(maxsize=1)(Subword)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(ProcessPoolExecutor):
    """A pool of `count` processes that work on a stream; with one, this process does the work."""

    def __init__(self, count: int) -> None:
        self.count = max(count, 1)
        super().__init__(self.count, initializer=die_with_parent)  # starts processes lazily

    def stream(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function` of each item, in order; reads only a few items ahead."""
        if self.count == 1:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(self.submit(function, item))
            if len(pending) > 2 * self.count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def prepare(config: CorpusConfig, src: str, tgt: str, archives: list[Path], output: Path, workers: int) -> None:
    """Writes a corpus's folder `results/corpora/D/`; files appear under their final names only when complete.

    archives: the fetched files in the order of `config.archives`. Raises `CorpusError` with file and line for errors
    in the files.
    """
    for archive, path in zip(config.archives, archives, strict=True):
        if archive.sha256 is not None and (digest := sha256(path)) != archive.sha256:
            raise CorpusError(f"{path}: sha256 is {digest}, expected {archive.sha256}; delete it to fetch it again")
    names = side_names(src, tgt)
    for loaded in (_truecaser, _subword):
        loaded.cache_clear()  # of a corpus that this process prepared in the same folder
    folder = output / ".partial"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "raw").mkdir(parents=True)
    try:
        with Workers(workers) as pool:
            cleaning, left_out = _write_text(config, src, tgt, archives, folder, pool)
            if config.truecase:
                for name in names:
                    truecase(folder, name, pool)
            counts = _count_words([folder / f"train.tok.{name}" for name in names], pool)
            size = subword.train(counts, config.vocabulary, folder / "subword.model")
            print(f"subwords: {size} pieces from {len(counts)} distinct words", flush=True)
            splits = {split: _encode(config, names, split, folder, size, pool) for split in SPLITS}
        statistics = {
            "languages": {"src": src, "tgt": tgt},
            "vocabulary": size,
            "distinct_words": len(counts),
            "left_out": left_out,
            "cleaning": cleaning,
            "splits": splits,
        }
        provenance = {
            "archives": [_source(archive, path) for archive, path in zip(config.archives, archives, strict=True)],
            "configuration": config.model_dump(mode="json"),
            "cleaning": cleaning,
            "versions": {name: version(name) for name in ("sacremoses", "sentencepiece", "numpy")},
        }
        write_json(folder / "provenance.json", provenance)
        write_json(folder / "statistics.json", statistics)
        for new in sorted(folder.iterdir(), key=lambda path: path.name == "statistics.json"):
            old = output / new.name
            if old.is_dir():
                shutil.rmtree(old)
            new.replace(old)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _source(archive: ArchiveConfig, path: Path) -> dict[str, Any]:
    published = archive.pip or archive.urls
    return {"name": archive.name, "published": published, "sha256": sha256(path), "bytes": path.stat().st_size}


def _write_text(
    config: CorpusConfig, src: str, tgt: str, archives: list[Path], folder: Path, pool: Workers
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Writes raw/ and {split}.tok.* (and .documents.txt).

    Returns the counts of each cleaning step, and of what the reader skips.
    """
    left_out: Counter[str] = Counter()
    spaces = has_spaces(src), has_spaces(tgt)
    held_out = None
    if config.disjoint:
        held_out = held_out_texts(read(config, src, tgt, archives), config.min_words, spaces)
    cleaner = Cleaner(config, held_out, spaces)
    with ExitStack() as stack:
        files: dict[str, list[Any]] = {}
        for split in SPLITS:
            names = [f"{form}.{side}" for form in (f"raw/{split}", f"{split}.tok") for side in side_names(src, tgt)]
            names += [f"{split}.documents.txt"] if config.documents else []
            files[split] = [
                stack.enter_context((folder / name).open("w", encoding="utf-8", newline="\n")) for name in names
            ]
        # tee buffers the few chunks in flight, so the workers need not send the raw text back.
        chunks_in, chunks_of_raw = itertools.tee(
            chunks(filter(cleaner.admit, read(config, src, tgt, archives, left_out)), CHUNK)
        )
        tokenised = pool.stream(partial(_tokenise, config=config, languages=(src, tgt)), chunks_in)
        for chunk, tokens in zip(chunks_of_raw, tokenised, strict=False):
            for pair, (src_tokens, tgt_tokens) in zip(chunk, tokens, strict=True):
                to = cleaner.split(pair, src_tokens, tgt_tokens)
                if to is None:
                    continue
                texts = (one_line(pair.src), one_line(pair.tgt), src_tokens, tgt_tokens, pair.document)
                for file, text in zip(files[to], texts, strict=False):
                    file.write(text + "\n")
    if left_out:
        print("left out while reading: " + ", ".join(f"{n} {what}" for what, n in left_out.items()), flush=True)
    for split in SPLITS:
        counts = {step: n for step, n in cleaner.counts[split].items() if n}
        print(f"{split}: " + ", ".join(f"{step} {n}" for step, n in counts.items()), flush=True)
        if not cleaner.counts[split]["kept"]:
            raise CorpusError(f"{archives[0].parent}: no {split} pair is left ({counts or 'none was read'})")
    return {split: dict(counts) for split, counts in cleaner.counts.items()}, dict(left_out)


def _tokenise(pairs: list[Pair], *, config: CorpusConfig, languages: tuple[str, str]) -> list[tuple[str, ...]]:
    def tokens(pair: Pair, text: str, language: str) -> str:
        straighten = config.straighten and pair.split == "test"
        text = tokenise(text, language, lower=config.lowercase, straighten=straighten)
        # As clean-corpus-n.perl: tokenizer.perl can leave a space at the end.
        return text.strip() if pair.split == "train" else text

    return [tuple(map(partial(tokens, pair), (pair.src, pair.tgt), languages)) for pair in pairs]


def truecase(folder: Path, side: str, pool: Workers) -> None:
    """Learns from `train.tok.SIDE`, writes `truecase.SIDE` and truecases the three splits in place."""
    counts: Counter[str] = Counter()
    for some in pool.stream(count_casings, chunks(_lines(folder / f"train.tok.{side}"), CHUNK)):
        counts.update(some)
    model = folder / f"truecase.{side}"
    write_truecaser(counts, model)
    apply = partial(_truecase, model=model)
    for split in SPLITS:
        cased, truecased = folder / f"{split}.tok.{side}", folder / f"{split}.truecased.{side}"
        with truecased.open("w", encoding="utf-8", newline="\n") as out:
            for text in pool.stream(apply, chunks(_lines(cased), CHUNK)):
                out.write(text)
        truecased.replace(cased)


def _truecase(lines: list[str], *, model: Path) -> str:
    truecaser = _truecaser(model)
    return "".join(truecaser(line) + "\n" for line in lines)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def _count_words(paths: Iterable[Path], pool: Workers) -> Counter[str]:
    counts: Counter[str] = Counter()
    for path in paths:
        for some in pool.stream(_count, chunks(_lines(path), 5 * CHUNK)):
            counts.update(some)
    return counts


def _count(lines: list[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split(" ") if word)


def _ids(chunk: list[tuple[str, str]], *, model: Path) -> tuple[Sequences, Sequences]:
    encode = _subword(model).encode
    return Sequences.of(encode([src for src, _ in chunk])), Sequences.of(encode([tgt for _, tgt in chunk]))


def _encode(
    config: CorpusConfig, names: tuple[str, str], split: str, folder: Path, vocabulary: int, pool: Workers
) -> dict[str, Any]:
    """Writes store/SPLIT; returns the split's statistics."""
    encode = partial(_ids, model=folder / "subword.model")
    unknown = dict.fromkeys(SIDES, 0)
    pairs = zip(*(_lines(folder / f"{split}.tok.{name}") for name in names), strict=True)
    documents = chunks(_lines(folder / f"{split}.documents.txt"), CHUNK) if config.documents else None
    with StoreWriter(folder / "store" / split, vocabulary, documents=config.documents) as writer:
        for sides in pool.stream(encode, chunks(pairs, CHUNK)):
            writer.add(*sides, next(documents) if documents else None)
            for side, sequences in zip(SIDES, sides, strict=True):
                unknown[side] += int(np.count_nonzero(sequences.ids == UNK))
    store = Store(folder / "store" / split)
    statistics: dict[str, Any] = {"pairs": len(store)}
    if store.documents is not None:
        statistics["documents"] = len(store.documents) - 1
        statistics["sentences_per_document"] = length_distribution(np.diff(store.documents))
    lengths = {"src": length_distribution(store.src_lengths), "tgt": length_distribution(store.tgt_lengths)}
    return statistics | {"subwords": writer.tokens, "unknown": unknown, "lengths": lengths}
