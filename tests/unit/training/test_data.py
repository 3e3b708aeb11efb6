from __future__ import annotations

import pytest

from reluformer.config.settings import SettingsError
from reluformer.training.data import longest, open_data


def test_opens_the_corpus_with_its_fingerprints(corpora, toy_run):
    data = open_data(corpora, toy_run)
    assert len(data.train) == 400 and len(data.valid) == 40
    assert "toy/subword.model" in data.files and "toy/store/train/src.ids" in data.files
    assert all(len(digest) == 64 for digest in data.files.values())
    assert open_data(corpora, toy_run).files == data.files


def test_the_longest_sequence_has_its_end(corpora, toy_run):
    data = open_data(corpora, toy_run)
    lengths = [store.src(i).size for store in (data.train, data.valid) for i in range(len(store))]
    assert longest(data) == max(lengths) + 1 == 12  # targets are as long as their sources


def test_a_corpus_that_is_not_prepared(tmp_path, toy_run):
    with pytest.raises(SettingsError, match="the corpus of toy is not prepared"):
        open_data(tmp_path, toy_run)
