"""Truecasing as G-Transformer prepares Europarl7: Moses' train-truecaser.perl and truecase.perl.

Written out here and not taken from sacremoses, whose learner skips opening quotes everywhere and not only at the start
of a line, and is too slow for millions of lines. The text is tokenised and escaped, so it has neither XML nor factors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

from reluformer.corpus.errors import CorpusError
from reluformer.corpus.moses import lowercase
from reluformer.corpus.pairs import SPLITS
from reluformer.corpus.parallel import Workers, chunks

SENTENCE_END = frozenset(".:?!")
DELAYED_START = frozenset(("(", "[", '"', "'", "&apos;", "&quot;", "&#91;", "&#93;"))

_CHUNK = 5000


class Truecaser:
    """The most frequent casing of each word, and every casing that was seen."""

    def __init__(self, model: Path) -> None:
        """Reads a model in Moses' format: `best (n/total) other (n) ...`, one word a line. Raises `CorpusError`."""
        self.best: dict[str, str] = {}
        known: set[str] = set()
        try:
            with model.open(encoding="utf-8", newline="\n") as file:
                for line in file:
                    forms = line.split(" ")[::2]
                    self.best[lowercase(forms[0])] = forms[0]
                    known.update(forms)
        except (FileNotFoundError, UnicodeDecodeError):
            raise CorpusError(f"{model}: not a truecasing model; the corpus has not been prepared") from None
        self.known = frozenset(known)

    def __call__(self, line: str) -> str:
        """Truecases one tokenised line: the first word of a sentence, and words that were never seen as they are."""
        words = line.split()
        start = True
        for i, word in enumerate(words):
            if start or word not in self.known:
                words[i] = self.best.get(lowercase(word), word)
            if word in SENTENCE_END:
                start = True
            elif word not in DELAYED_START:
                start = False
        return " ".join(words)


def learn(lines: Iterable[str]) -> Counter[str]:
    """How often each form occurs where its casing says something: anywhere but at the start of a sentence."""
    counts: Counter[str] = Counter()
    for line in lines:
        words = line.split()
        first = 0
        while first < len(words) and words[first] in DELAYED_START:
            first += 1
        counts.update(
            word for before, word in zip(words[first:], words[first + 1 :], strict=False) if before not in SENTENCE_END
        )
    return counts


def write_model(counts: Mapping[str, int], path: Path) -> None:
    """Writes Moses' model file; of equally frequent forms the first in code point order is the best."""
    casing: dict[str, list[tuple[int, str]]] = {}
    for form, n in counts.items():
        casing.setdefault(lowercase(form), []).append((-n, form))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for word in sorted(casing):
            (n, best), *others = sorted(casing[word])
            total = -sum(m for m, _ in casing[word])
            file.write(" ".join([best, f"({-n}/{total})", *(f"{form} ({-m})" for m, form in others)]) + "\n")


def truecase_corpus(folder: Path, side: str, pool: Workers) -> None:
    """Learns from `train.tok.SIDE`, writes `truecase.SIDE` and truecases the three splits in place."""
    counts: Counter[str] = Counter()
    with (folder / f"train.tok.{side}").open(encoding="utf-8", newline="\n") as file:
        for found in pool.map(_learn, chunks(file, _CHUNK)):
            counts.update(found)
    model = folder / f"truecase.{side}"
    write_model(counts, model)
    apply = partial(_apply, model=model, written=model.stat().st_mtime_ns)
    for split in SPLITS:
        cased, truecased = folder / f"{split}.tok.{side}", folder / f"{split}.truecased.{side}"
        with (
            cased.open(encoding="utf-8", newline="\n") as file,
            truecased.open("w", encoding="utf-8", newline="\n") as out,
        ):
            for text in pool.map(apply, chunks(file, _CHUNK)):
                out.write(text)
        truecased.replace(cased)


def _learn(lines: list[str]) -> Counter[str]:
    return learn(line.removesuffix("\n") for line in lines)


@lru_cache(maxsize=2)
def _truecaser(model: Path, _written: int) -> Truecaser:
    return Truecaser(model)


def _apply(lines: list[str], *, model: Path, written: int) -> str:
    truecaser = _truecaser(model, written)
    return "".join(truecaser(line.removesuffix("\n")) + "\n" for line in lines)
