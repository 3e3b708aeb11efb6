"""The exported tokenizer equals the corpus preparation."""

from __future__ import annotations

import pytest

from reluformer.corpus.preprocessor import Preprocessor
from reluformer.corpus.subword import EOS
from reluformer.corpus.text import text_of_corpus

pytestmark = pytest.mark.slow


def test_odd_lines_become_the_same_ids(trained, elsewhere, odd):
    text = Preprocessor(text_of_corpus(trained.corpora / "numbers", "fi"), "fi")
    assert elsewhere["odd_ids"] == [[*text.ids([line]), EOS] for line in odd]


def test_decoding_with_special_tokens_shows_the_pieces(trained, elsewhere, odd):
    text = Preprocessor(text_of_corpus(trained.corpora / "numbers", "fi"), "fi")
    assert elsewhere["decoded"] == [" ".join(text.subword.pieces([*text.ids([odd[0]]), EOS]))]
