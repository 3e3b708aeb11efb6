"""The preparation of a corpus: archives in, text, subword model, token store, statistics and provenance out.

Four passes, each a stream through all workers, so that memory does not grow with the corpus: read, tokenise and clean;
(learn and apply the truecasing;) count the words and learn the subwords; encode.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from reluformer.config.dataset import CorpusConfig
from reluformer.config.run import side_names
from reluformer.corpus import moses, subword, truecase
from reluformer.corpus.clean import Cleaner, held_out_texts
from reluformer.corpus.errors import CorpusError
from reluformer.corpus.pairs import SPLITS, Pair, is_blank, one_line
from reluformer.corpus.parallel import Workers, chunks
from reluformer.corpus.readers.registry import read
from reluformer.corpus.statistics import Lengths, length_distribution, sources, versions
from reluformer.corpus.store import SIDES, Sequences, Store, StoreWriter
from reluformer.corpus.subword import UNK, Subword
from reluformer.files import sha256, write_json

_CHUNK = 2000


def prepare(config: CorpusConfig, src: str, tgt: str, archives: list[Path], output: Path, workers: int) -> None:
    """Writes `results/corpora/D/` of one corpus; nothing half-written is left under its final name.

    `archives` are the fetched files in the order of `config.archives`. Raises `CorpusError` with file and line where
    the corpus is not what it should be.
    """
    for archive, path in zip(config.archives, archives, strict=True):
        if archive.sha256 is not None and (found := sha256(path)) != archive.sha256:
            raise CorpusError(f"{path}: sha256 is {found}, expected {archive.sha256}; delete it to fetch it anew")
    names = side_names(src, tgt)
    partial_folder = output / ".partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    (partial_folder / "raw").mkdir(parents=True)
    try:
        left_out: Counter[str] = Counter()
        with Workers(workers) as pool:
            cleaning = _write_text(config, src, tgt, archives, partial_folder, pool, left_out)
            if config.truecase:
                for name in names:
                    truecase.truecase_corpus(partial_folder, name, pool)
            counts = _count_words([partial_folder / f"train.tok.{name}" for name in names], pool)
            size = subword.train(counts, config.vocabulary, partial_folder / "subword.model")
            print(f"subwords: {size} pieces from {len(counts)} distinct words", flush=True)
            splits = {split: _encode(config, names, split, partial_folder, size, pool) for split in SPLITS}
        statistics = {
            "languages": {"src": src, "tgt": tgt},
            "vocabulary": size,
            "distinct_words": len(counts),
            "left_out": dict(left_out),
            "cleaning": cleaning,
            "splits": splits,
        }
        provenance = {
            "archives": sources(list(zip(config.archives, archives, strict=True))),
            "configuration": config.model_dump(mode="json"),
            "cleaning": cleaning,
            "versions": versions(),
        }
        write_json(partial_folder / "provenance.json", provenance)
        write_json(partial_folder / "statistics.json", statistics)
        for new in sorted(partial_folder.iterdir(), key=lambda path: path.name == "statistics.json"):
            old = output / new.name
            if old.is_dir():
                shutil.rmtree(old)
            new.replace(old)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _write_text(
    config: CorpusConfig,
    src: str,
    tgt: str,
    archives: list[Path],
    folder: Path,
    pool: Workers,
    left_out: Counter[str],
) -> dict[str, dict[str, int]]:
    """raw/ and {split}.tok.* (and .documents.txt); returns the counts of each cleaning step.

    left_out: counts what the reader leaves out.
    """
    held_out = None
    if config.disjoint:
        held_out = held_out_texts(read(config, src, tgt, archives), config.min_words)
    cleaner = Cleaner(config, held_out)
    tokenise = partial(_tokenise, src=src, tgt=tgt, lower=config.lowercase, straighten=config.straighten)
    with ExitStack() as stack:
        files: dict[str, list[Any]] = {}
        for split in SPLITS:
            names = [f"{form}.{side}" for form in (f"raw/{split}", f"{split}.tok") for side in side_names(src, tgt)]
            names += [f"{split}.documents.txt"] if config.documents else []
            files[split] = [
                stack.enter_context((folder / name).open("w", encoding="utf-8", newline="\n")) for name in names
            ]
        # tee keeps the few chunks in flight, so that the raw text need not come back from the workers.
        given, kept = itertools.tee(chunks(filter(cleaner.admit, read(config, src, tgt, archives, left_out)), _CHUNK))
        for chunk, tokens in zip(kept, pool.map(tokenise, given), strict=False):
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
    return {split: dict(counts) for split, counts in cleaner.counts.items()}


def _tokenise(pairs: list[Pair], *, src: str, tgt: str, lower: bool, straighten: bool) -> list[tuple[str, str]]:
    def tokens(language: str, text: str, split: str) -> str:
        if is_blank(text):
            return ""
        if straighten and split == "test":
            text = text.replace("’", "'")
        text = moses.tokenizer(language)(text)
        if split == "train":
            text = text.strip()  # as clean-corpus-n.perl; tokenizer.perl can leave a space at the end
        return moses.lowercase(text) if lower else text

    return [(tokens(src, pair.src, pair.split), tokens(tgt, pair.tgt, pair.split)) for pair in pairs]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def _count_words(paths: Iterable[Path], pool: Workers) -> Counter[str]:
    counts: Counter[str] = Counter()
    for path in paths:
        for found in pool.map(_count, chunks(_lines(path), 5 * _CHUNK)):
            counts.update(found)
    return counts


def _count(lines: list[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split(" ") if word)


@lru_cache(maxsize=1)
def _subword(path: Path, _written: int) -> Subword:
    return Subword(path)


def _ids(chunk: list[tuple[str, str]], *, model: Path, written: int) -> tuple[Sequences, Sequences]:
    encode = _subword(model, written).encode
    return Sequences.of(encode([src for src, _ in chunk])), Sequences.of(encode([tgt for _, tgt in chunk]))


def _encode(
    config: CorpusConfig, names: tuple[str, str], split: str, folder: Path, vocabulary: int, pool: Workers
) -> dict[str, Any]:
    """store/SPLIT; returns the split's statistics."""
    model = folder / "subword.model"
    encode = partial(_ids, model=model, written=model.stat().st_mtime_ns)
    unknown, lengths = dict.fromkeys(SIDES, 0), {side: Lengths() for side in SIDES}
    pairs = zip(*(_lines(folder / f"{split}.tok.{name}") for name in names), strict=True)
    documents = chunks(_lines(folder / f"{split}.documents.txt"), _CHUNK) if config.documents else None
    with StoreWriter(folder / "store" / split, vocabulary, documents=config.documents) as writer:
        for sides in pool.map(encode, chunks(pairs, _CHUNK)):
            writer.add(*sides, next(documents) if documents else None)
            for side, sequences in zip(SIDES, sides, strict=True):
                unknown[side] += int(np.count_nonzero(sequences.ids == UNK))
                lengths[side].add(sequences.lengths)
    statistics: dict[str, Any] = {"pairs": writer.sequences}
    borders = Store(folder / "store" / split).documents
    if borders is not None:
        statistics["documents"] = len(borders) - 1
        statistics["sentences_per_document"] = length_distribution(np.diff(borders))
    statistics |= {"subwords": writer.tokens, "unknown": unknown}
    return statistics | {"lengths": {side: counted.distribution() for side, counted in lengths.items()}}
