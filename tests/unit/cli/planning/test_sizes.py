import json

import numpy as np
import pytest

from reluformer.cli.planning.sizes import Split, read_sizes, token_length
from reluformer.config.settings import SettingsError
from reluformer.corpus.store import Sequences, StoreWriter


def test_a_token_is_in_a_longer_sequence_than_a_sequence_is_long():
    assert token_length(np.array([10, 10])) == 10 and token_length(np.array([1, 9])) == pytest.approx(8.2)


def test_what_is_not_prepared_is_drawn_from_the_configured_sizes(paper, tmp_path):
    dataset = paper.dataset("iwslt14")
    found = read_sizes("iwslt14", dataset, tmp_path)
    assert not found.prepared and found.vocabulary == 10_000
    assert [split.pairs for split in found.splits()] == [160_239, 7283, 6750]
    assert found.train.src.mean() == pytest.approx(dataset.sizes.src_tokens + 1, rel=0.03)
    assert found.test.tokens("tgt") == pytest.approx(6750 * (dataset.sizes.tgt_tokens + 1), rel=0.05)


def test_packed_documents_fill_what_their_packing_fills(paper, tmp_path):
    dataset = paper.dataset("europarl7")
    means = {
        view: np.maximum(found.test.src, found.test.tgt).mean()
        for view in ("within-128", "within-2048", "across-128", "across-2048")
        for found in [read_sizes(f"europarl7@{view}", dataset, tmp_path)]
    }
    assert 1900 < means["across-2048"] <= 2049 and 100 < means["across-128"] <= 129
    assert 300 < means["within-2048"] < 600  # a document is one speech
    assert 80 < means["within-128"] < 129


def test_a_prepared_corpus_is_read(paper, tmp_path):
    folder = tmp_path / "iwslt14"
    for name in ("train", "valid", "test"):
        with StoreWriter(folder / "store" / name, 99, documents=False) as writer:
            writer.add(Sequences.of([[5, 6, 7], [5]]), Sequences.of([[5], [6, 7]]))
    (folder / "statistics.json").write_text(json.dumps({}))
    found = read_sizes("iwslt14", paper.dataset("iwslt14"), tmp_path)
    assert found.prepared and found.vocabulary == 99 and found.train.src.tolist() == [4, 2]


def test_a_split_counts_what_its_sample_stands_for():
    assert Split(100, np.array([2, 4]), np.array([1, 1])).tokens("src") == 300


def test_nothing_to_plan_with_is_said(paper, tmp_path):
    bare = paper.dataset("iwslt14").model_copy(update={"sizes": None})
    with pytest.raises(SettingsError, match="gives no `sizes`"):
        read_sizes("iwslt14", bare, tmp_path)
