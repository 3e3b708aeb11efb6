"""Text is prepared like its corpus, wherever the models are stored."""

from __future__ import annotations

import hashlib
import json

import pytest

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.corpus import CorpusError
from reluformer.corpus.preprocessor import Preprocessor
from reluformer.corpus.subword import SENT
from reluformer.corpus.text import (
    TextConfig,
    TextFiles,
    find_text,
    read_provenance,
    require_trained_with,
    text_of_corpus,
)


@pytest.fixture
def text(trained) -> Preprocessor:
    return Preprocessor(text_of_corpus(trained.corpora / "numbers", "fi"), "fi")


def test_raw_text_becomes_the_tokens_of_the_corpus(trained, text):
    expected = (trained.corpora / "numbers" / "test.tok.fi").read_text(encoding="utf-8").splitlines()
    assert [text.tokenise(line) for line in trained.raw] == expected
    assert expected[0][0].islower()  # truecased


def test_sentences_of_a_segment_are_joined_and_blank_ones_left_out(text):
    first, second = text.ids(["Yksi kaksi ."]), text.ids(["Kolme ."])
    assert text.ids(["Yksi kaksi .", "  ", "Kolme ."]) == [*first, SENT, *second]
    assert text.ids([" "]) == []


def test_long_text_is_cut_at_sentence_ends_else_between_words_else_anywhere(text):
    sentence = text.ids(["Yksi kaksi kolme ."])
    ids = sentence * 5
    assert text.parts(ids, len(ids), fill=False) == [ids]
    assert text.parts(ids, len(ids) - 1, fill=False) == [sentence] * 5
    assert text.parts(ids, 2 * len(sentence) + 1, fill=True) == [sentence * 2, sentence * 2, sentence]
    words = text.ids(["yksi " * 20])
    assert text.parts(words, 7, fill=False) == [words[:7], words[7:14], words[14:]]
    spelled = text.ids(["yksikaksi " * 5])
    assert len(spelled) == 20  # each in four pieces
    assert text.parts(spelled, 10, fill=False) == [spelled[:8], spelled[8:16], spelled[16:]]
    glued = text.ids(["yksi" * 30])
    parts = text.parts(glued, 8, fill=False)
    assert [part for piece in parts for part in piece] == glued and max(map(len, parts)) == 8


def test_what_is_no_prepared_corpus_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"provenance\.json: there is no such file"):
        read_provenance(tmp_path)
    for wrong in ("{", "[]", '{"configuration": 1}'):
        (tmp_path / "provenance.json").write_text(wrong)
        with pytest.raises(CorpusError, match="not the provenance of a corpus"):
            read_provenance(tmp_path)
    (tmp_path / "provenance.json").write_text('{"configuration": {"lowercase": true}}')
    with pytest.raises(SettingsError, match=r"provenance\.json: .*required"):
        text_of_corpus(tmp_path, "de")


def test_an_exported_folder_needs_no_corpus(trained, tmp_path):
    text = {"lowercase": True, "truecase": False, "straighten": False, "max_tokens": 9}
    (tmp_path / "config.json").write_text(json.dumps({"run": {}, "text": text}))
    run = RunConfig.load(trained.run)
    expected = TextFiles(tmp_path / "subword.model", tmp_path / "truecaser.txt", TextConfig(**text))
    assert find_text(tmp_path, run, None) == expected
    assert find_text(tmp_path, run, None, "tgt").truecaser == tmp_path / "truecaser.tgt.txt"
    for side, language in (("src", "fi"), ("tgt", "pt")):
        assert find_text(trained.run, run, None, side) == text_of_corpus(trained.corpora / "numbers", language)
    with pytest.raises(SettingsError, match=r"elsewhere/numbers/provenance\.json"):
        find_text(trained.run, run, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (None, None),
        ({}, None),
        ({"data": {"D/subword.model": hashlib.sha256(b"this").hexdigest()}}, None),
        (
            {"data": {"D/subword.model": "0" * 64}},
            "not the subword model that .* was trained with.*train the run again",
        ),
    ],
)
def test_a_corpus_prepared_anew_since_the_training_is_noticed(tmp_path, summary, message):
    (tmp_path / "subword.model").write_bytes(b"this")
    if summary is not None:
        (tmp_path / "summary.json").write_text(json.dumps(summary))
    if message is None:
        require_trained_with(tmp_path, tmp_path / "subword.model")
        return
    with pytest.raises(CorpusError, match=message):
        require_trained_with(tmp_path, tmp_path / "subword.model")
