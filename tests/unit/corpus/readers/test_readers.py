from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from reluformer.config.dataset import READER_TRAITS, CorpusConfig, HeldOutConfig
from reluformer.corpus.readers import READERS, read

Write = Callable[..., tuple[CorpusConfig, list[Path]]]


def test_every_reader_of_the_configuration_exists() -> None:
    assert set(READERS) == set(get_args(CorpusConfig.model_fields["reader"].annotation)) == set(READER_TRAITS)


def test_archives_are_in_the_order_of_the_configuration(write_corpus: Write) -> None:
    config, archives = write_corpus(train=3, held=2)
    pairs = list(read(config, "de", "en", archives))
    assert [pair.split for pair in pairs] == ["train"] * 3 + ["valid"] * 2 + ["test"] * 2
    assert pairs[0].src == archives[0].read_text().splitlines()[0]


def test_limit_is_of_training_pairs(write_corpus: Write) -> None:
    config, archives = write_corpus(train=30, held=5, limit=7)
    splits = [pair.split for pair in read(config, "de", "en", archives)]
    assert (splits.count("train"), splits.count("valid"), splits.count("test")) == (7, 5, 5)


def test_limit_of_documents(write_corpus: Write) -> None:
    config, archives = write_corpus(train=30, held=20, documents=True, limit_documents=2)
    pairs = list(read(config, "de", "en", archives))
    assert {pair.document for pair in pairs} == {f"{s}-{n}" for s in ("train", "valid", "test") for n in (1, 2)}
    assert len(pairs) == 30


def test_consecutive_pairs_are_joined_and_whole_documents_held_out(write_corpus: Write) -> None:
    config, archives = write_corpus(train=60, held=20)
    sides = config.files["train"]
    joined = config.model_copy(
        update={"documents": True, "joined": 10, "held_out": HeldOutConfig(valid=0.5), "files": {"train": sides}}
    )
    pairs = list(read(joined, "de", "en", archives))
    documents: dict[str, list[str]] = {}
    for pair in pairs:
        documents.setdefault(pair.document, []).append(pair.split)
    assert [len(splits) for splits in documents.values()] == [10] * 6
    assert all(len(set(splits)) == 1 for splits in documents.values())
    assert {splits[0] for splits in documents.values()} == {"train", "valid"}
    assert [pair.src for pair in pairs] == [pair.src for pair in read(config, "de", "en", archives)][:60]
    assert [pair.document for pair in pairs] == [f"train-{n // 10 + 1}" for n in range(60)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"limit": 3}, {"training pairs beyond limit": 2}),
        ({"document_mark": "<d>", "documents": True}, {"document marks": 2}),
        (
            {"document_mark": "<d>", "documents": True, "limit_documents": 1},
            {"document marks": 2, "pairs of documents beyond limit_documents": 2},
        ),
    ],
)
def test_what_is_left_out_is_counted(tmp_path: Path, changes: dict[str, Any], expected: dict[str, int]) -> None:
    text = "<d>\na\n\nb\n<d>\nc\nd\n" if "document_mark" in changes else "a\n\nb\nc\nd\n"
    for name in ("x", "y"):
        (tmp_path / name).write_text(text)
    corpus = {"reader": "lines", "archives": [{"name": "x"}, {"name": "y"}], "held_out": {"valid": 1e-9, "test": 1e-9}}
    config = CorpusConfig.model_validate({**corpus, "files": {"train": {"src": "x", "tgt": "y"}}, **changes})
    left_out: Counter[str] = Counter()
    pairs = list(read(config, "de", "en", [tmp_path / "x", tmp_path / "y"], left_out))
    assert left_out == expected
    assert len(pairs) == 5 - sum(n for what, n in expected.items() if what != "document marks")
