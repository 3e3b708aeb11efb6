from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.pack import Segment, pack, segments
from reluformer.corpus.prepare import prepare
from reluformer.corpus.store import Store, length_distribution, view_folder
from reluformer.corpus.subword import SENT, Subword


def packed(src: list[int], tgt: list[int], borders: list[int], packing: str, length: int) -> list[Segment]:
    return list(segments(np.array(src), np.array(tgt), np.array(borders), packing, length))


def test_greedy_within_documents() -> None:
    # 3 + <sent> + 3 = 7 fits, one more would be 11; the document ends after the fourth sentence.
    assert packed([3] * 6, [2] * 6, [0, 4, 6], "within", 7) == [
        Segment(0, 0, 2),
        Segment(0, 2, 2),
        Segment(1, 4, 2),
    ]


def test_across_documents_fills_every_segment() -> None:
    assert packed([3] * 6, [2] * 6, [0, 3, 6], "across", 7) == [
        Segment(0, 0, 2),
        Segment(0, 2, 2),
        Segment(1, 4, 2),
    ]


def test_the_longer_side_counts() -> None:
    assert packed([1, 1], [5, 5], [0, 2], "within", 10) == [Segment(0, 0, 1), Segment(0, 1, 1)]
    assert packed([1, 1], [5, 5], [0, 2], "within", 11) == [Segment(0, 0, 2)]


def test_a_long_sentence_is_a_segment_of_its_own() -> None:
    assert packed([2, 50, 2], [2, 2, 2], [0, 3], "within", 10) == [
        Segment(0, 0, 1),
        Segment(0, 1, 1),
        Segment(0, 2, 1),
    ]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=50), st.integers(1, 40))
def test_every_sentence_is_in_one_segment(sentences: list[tuple[int, int, bool]], length: int) -> None:
    src, tgt = [s for s, _, _ in sentences], [t for _, t, _ in sentences]
    borders = sorted({0, len(sentences), *(i for i, (_, _, new) in enumerate(sentences) if new)})
    for packing in ("within", "across"):
        result = packed(src, tgt, borders, packing, length)
        assert [i for s in result for i in range(s.first, s.first + s.sentences)] == list(range(len(sentences)))
        for s in result:
            part = slice(s.first, s.first + s.sentences)
            assert max(sum(src[part]), sum(tgt[part])) + s.sentences - 1 <= length or s.sentences == 1
            assert borders[s.document] <= s.first < borders[s.document + 1]
            if packing == "within":
                assert s.first + s.sentences <= borders[s.document + 1]


@pytest.fixture
def corpus(write_corpus: Callable[..., tuple[CorpusConfig, list[Path]]], tmp_path: Path) -> tuple[CorpusConfig, Path]:
    config, archives = write_corpus(documents=True, segments={"packing": ["within", "across"], "lengths": [48]})
    prepare(config, "de", "en", archives, tmp_path / "corpora" / "made-up", 1)
    return config, tmp_path / "corpora" / "made-up"


def test_view_is_the_corpus_with_marks(corpus: tuple[CorpusConfig, Path]) -> None:
    config, folder = corpus
    pack(config, "de", "en", folder, "across", 48)
    view = view_folder(folder.parent, "made-up@across-48")
    model = Subword(folder / "subword.model")
    tokens = (folder / "test.tok.en").read_text().splitlines()
    store = Store(view / "store" / "test")
    rows = list(csv.DictReader((view / "test.segments.tsv").open(newline=""), delimiter="\t"))
    assert len(rows) == len(store) > 1
    restored = []
    for i, row in enumerate(rows):
        first, count = int(row["first"]), int(row["count"])
        assert store.tgt(i).tolist().count(SENT) == count - 1
        assert model.sentences(store.tgt(i)) == tokens[first : first + count]
        assert row["document"] == (folder / "test.documents.txt").read_text().splitlines()[first]
        restored += model.sentences(store.tgt(i))
    assert restored == tokens


def test_statistics_state_the_real_lengths(corpus: tuple[CorpusConfig, Path]) -> None:
    config, folder = corpus
    pack(config, "de", "en", folder, "within", 48)
    result = json.loads((folder / "within-48" / "statistics.json").read_text())["splits"]["train"]
    store = Store(folder / "within-48" / "store" / "train")
    assert result["documents"] == 60 and result["sentences"] == 300 and result["segments"] == len(store)
    longer = np.maximum(store.src_lengths, store.tgt_lengths)
    assert result["lengths"] == length_distribution(longer, 48)
    assert result["lengths"]["max"] <= 48 and 0 < result["lengths"]["share_half"] <= 1


def test_unknown_view(corpus: tuple[CorpusConfig, Path]) -> None:
    config, folder = corpus
    with pytest.raises(CorpusError, match="within-49 is not among the segments"):
        pack(config, "de", "en", folder, "within", 49)


def test_corpus_without_documents(
    write_corpus: Callable[..., tuple[CorpusConfig, list[Path]]], corpus: tuple[CorpusConfig, Path], tmp_path: Path
) -> None:
    plain, archives = write_corpus()
    prepare(plain, "de", "en", archives, tmp_path / "plain", 1)
    with pytest.raises(CorpusError, match="prepared without documents"):
        pack(corpus[0], "de", "en", tmp_path / "plain", "within", 48)
