"""Truecasing as G-Transformer prepares Europarl7: Moses' train-truecaser.perl and truecase.perl, by sacremoses."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache, partial
from pathlib import Path

from sacremoses import MosesTruecaser

from reluformer.corpus.pairs import SPLITS
from reluformer.corpus.parallel import Workers, chunks

_CHUNK = 5000


def apply_to_corpus(folder: Path, language: str, pool: Workers) -> None:
    """Learns the casing of `train.tok.LANGUAGE` and rewrites the three splits with it; keeps `truecase.LANGUAGE`."""
    casing: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with (folder / f"train.tok.{language}").open(encoding="utf-8", newline="\n") as file:
        for counts in pool.map(_learn, chunks(file, _CHUNK)):
            for surface, weight in counts.items():
                casing[surface.lower()][surface] += weight
    model = folder / f"truecase.{language}"
    truecaser = MosesTruecaser()
    truecaser.model = {"casing": casing}
    truecaser.save_model(str(model))
    for split in SPLITS:
        cased, truecased = folder / f"{split}.tok.{language}", folder / f"{split}.truecased.{language}"
        with (
            cased.open(encoding="utf-8", newline="\n") as file,
            truecased.open("w", encoding="utf-8", newline="\n") as out,
        ):
            for lines in pool.map(partial(_truecase, model=model), chunks(file, _CHUNK)):
                out.writelines(lines)
        truecased.replace(cased)


@lru_cache(maxsize=2)
def _truecaser(model: Path | None) -> MosesTruecaser:
    return MosesTruecaser(str(model)) if model else MosesTruecaser()


def _learn(lines: list[str]) -> Counter[str]:
    truecaser = _truecaser(None)
    counts: Counter[str] = Counter()
    for line in lines:
        for _, surface, weight in truecaser.learn_truecase_weights(line.split()):
            counts[surface] += weight
    return counts


def _truecase(lines: list[str], *, model: Path) -> list[str]:
    truecaser = _truecaser(model)
    return [truecaser.truecase(line.rstrip("\n"), return_str=True, use_known=True) + "\n" for line in lines]
