"""Expected output: what Moses' train-truecaser.perl and truecase.perl give for these made-up sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.corpus.parallel import Workers
from reluformer.corpus.truecase import Truecaser, learn, truecase_corpus, write_model

TEXT = [
    "The house is old .",
    "Is the House red ? It is : the house stands .",
    "&quot; We know the house . &quot; Then he left .",
    "( Anna ) sees Anna .",
    "",
]


@pytest.fixture
def truecaser(tmp_path: Path) -> Truecaser:
    write_model(learn(TEXT), tmp_path / "model")
    return Truecaser(tmp_path / "model")


def test_learns_only_where_casing_means_something() -> None:
    counts = learn(TEXT)
    assert counts["The"] == counts["Is"] == counts["It"] == counts["We"] == 0
    assert counts["the"] == 2  # the one after ":" begins a sentence
    assert counts["house"] == 3 and counts["House"] == 1
    # Opening quotes are skipped only where a line begins, so the word after ". &quot;" counts.
    assert counts["Then"] == 1
    # "(" at the start is skipped, and so is Anna; ")" and what follows count.
    assert counts["Anna"] == 1


def test_model_file_is_moses(tmp_path: Path) -> None:
    write_model({"house": 3, "House": 1, "a": 2}, tmp_path / "model")
    assert (tmp_path / "model").read_text() == "a (2/2)\nhouse (3/4) House (1)\n"


def test_of_equal_counts_the_choice_is_fixed(tmp_path: Path) -> None:
    write_model({"may": 2, "May": 2}, tmp_path / "model")
    assert Truecaser(tmp_path / "model").best["may"] == "May"


def test_truecases(truecaser: Truecaser) -> None:
    assert truecaser("The House THE new . House &quot;") == "the House the new . house &quot;"
    assert truecaser("&quot; HOUSE Unseen") == "&quot; house Unseen"
    assert truecaser("Unseen : The") == "Unseen : the"
    assert truecaser("the end . &apos; ") == "the end . &apos;"
    assert truecaser("") == ""


def test_corpus_in_place(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.tok.en").write_text("".join(f"{line}\n" for line in TEXT))
    with Workers(1) as pool:
        truecase_corpus(tmp_path, "en", pool)
    lines = (tmp_path / "test.tok.en").read_text().split("\n")
    assert lines[0] == "the house is old ."
    assert len(lines) == len(TEXT) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test.tok.en",
        "train.tok.en",
        "truecase.en",
        "valid.tok.en",
    ]
