"""Synthetic corpora, and the experiments of config/."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.config.experiment import Experiment

CONFIG = Path(__file__).parents[2] / "config"

SRC_WORDS = "der hund katze haus läuft schläft groß klein über unter straße und nicht immer heute"
TGT_WORDS = "the dog cat house runs sleeps big small over under street and not always today"
WORDS = {"src": SRC_WORDS.split(), "tgt": TGT_WORDS.split()}
FILES = ("train.src", "train.tgt", "valid.src", "valid.tgt", "test.src", "test.tgt")


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Returns aligned synthetic sentences, translated word for word."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        chosen = rng.choices(range(len(WORDS["src"])), k=rng.randint(3, 9))
        src, tgt = (" ".join(WORDS[side][i] for i in chosen).capitalize() + "." for side in ("src", "tgt"))
        pairs.append((src, tgt))
    return pairs


@pytest.fixture
def write_corpus(tmp_path: Path) -> Callable[..., tuple[CorpusConfig, list[Path]]]:
    """Writes line-aligned files of synthetic text; with `documents`, a `<d>` line before every fifth pair."""

    def write(
        train: int = 300, held: int = 20, documents: bool = False, **config: Any
    ) -> tuple[CorpusConfig, list[Path]]:
        folder = tmp_path / "archives"
        folder.mkdir(exist_ok=True)
        for seed, (split, count) in enumerate((("train", train), ("valid", held), ("test", held))):
            for number, side in enumerate(("src", "tgt")):
                lines = []
                for i, pair in enumerate(sentences(count, seed)):
                    lines += ["<d>"] if documents and i % 5 == 0 else []
                    lines.append(pair[number])
                (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        settings = {
            "reader": "lines",
            "archives": [{"name": name} for name in FILES],
            "files": {split: {"src": f"{split}.src", "tgt": f"{split}.tgt"} for split in ("train", "valid", "test")},
            "vocabulary": 100,
            "documents": documents,
            "document_mark": "<d>" if documents else None,
            **config,
        }
        return CorpusConfig.model_validate(settings), [folder / name for name in FILES]

    return write


@pytest.fixture(scope="session")
def paper() -> Experiment:
    """The experiment of config.yaml: the whole paper."""
    return Experiment.from_files(CONFIG / "config.yaml")


@pytest.fixture(scope="session")
def demo() -> Experiment:
    """The experiment of demo.yaml: a small version of the paper."""
    return Experiment.from_files(CONFIG / "config.yaml", CONFIG / "demo.yaml")
