from __future__ import annotations

import random
from pathlib import Path

import pytest
import sentencepiece

from reluformer.corpus import CorpusError, subword
from reluformer.corpus.subword import BOS, EOS, PAD, SENT, UNK, Subword

COUNTS = {"haus": 50, "hause": 20, "hausen": 8, "maus": 30, "mause": 5, "laus": 9, "und": 60, "hund": 12, "rund": 7}


@pytest.fixture
def model(tmp_path: Path) -> Subword:
    assert subword.train(COUNTS, 40, tmp_path / "subword.model") == 40
    return Subword(tmp_path / "subword.model")


def test_special_ids(model: Subword) -> None:
    assert (PAD, UNK, BOS, EOS, SENT) == (0, 1, 2, 3, 4)
    assert model.pieces(range(5)) == ["<pad>", "<unk>", "<s>", "</s>", "<sent>"]


def test_round_trip(model: Subword) -> None:
    lines = ["haus und maus", "hausen rund", ""]
    ids = model.encode(lines)
    assert [model.decode(sequence) for sequence in ids] == lines
    assert all(i > SENT for sequence in ids for i in sequence)


def test_unknown_characters(model: Subword) -> None:
    assert UNK in model.encode(["haus ж"])[0]


def test_sentences(model: Subword) -> None:
    first, second = model.encode(["haus und maus", "hund"])
    assert model.sentences([BOS, *first, SENT, *second, EOS, PAD]) == ["haus und maus", "hund"]
    assert model.sentences([SENT, *first]) == ["", "haus und maus"]
    assert model.sentences([]) == [""]


def test_a_literal_mark_is_not_the_mark(model: Subword) -> None:
    assert SENT not in model.encode(["haus <sent> maus"])[0]


def test_counts_give_what_the_text_gives(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = rng.choices(list(COUNTS), weights=list(COUNTS.values()), k=2000)
    counts = {word: words.count(word) for word in set(words)}
    subword.train(counts, 40, tmp_path / "counts.model")
    lines = [" ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(tmp_path / "text"),
        model_type="bpe",
        vocab_size=40,
        character_coverage=1.0,
        normalization_rule_name="identity",
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        user_defined_symbols=["<sent>"],
        minloglevel=2,
    )
    from_counts, from_text = Subword(tmp_path / "counts.model"), Subword(tmp_path / "text.model")
    assert from_counts.pieces(range(40)) == from_text.pieces(range(40))


def test_text_too_small_for_the_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^vocabulary: 5000: .* at most \d+ pieces") as error:
        subword.train(COUNTS, 5000, tmp_path / "subword.model")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "subword.model").exists()


def test_vocabulary_too_small_for_the_characters(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^vocabulary: 16: .* at least 5\d pieces"):
        subword.train({chr(0x4E00 + i): 3 for i in range(50)}, 16, tmp_path / "subword.model")


def test_no_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no training text"):
        subword.train({}, 40, tmp_path / "subword.model")
