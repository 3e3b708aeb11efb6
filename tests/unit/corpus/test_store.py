from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reluformer.corpus import CorpusError
from reluformer.corpus.store import Sequences, Store, StoreWriter, length_distribution, view_folder

SRC = [[5, 6, 7], [], [70_000]]
TGT = [[8], [9, 10], [11, 12, 13]]


def write(folder: Path, vocabulary: int = 80_000, documents: list[str] | None = None) -> Store:
    with StoreWriter(folder, vocabulary, documents=documents is not None) as writer:
        for i in range(3):
            names = documents[i : i + 1] if documents else None
            writer.add(Sequences.of(SRC[i : i + 1]), Sequences.of(TGT[i : i + 1]), names)
    return Store(folder)


def test_round_trip(tmp_path: Path) -> None:
    store = write(tmp_path)
    assert len(store) == 3
    assert [store.src(i).tolist() for i in range(3)] == SRC
    assert [store.tgt(i).tolist() for i in range(3)] == TGT
    assert store.src_lengths.tolist() == [3, 0, 1]
    assert store.tgt_lengths.tolist() == [1, 2, 3]
    assert store.documents is None


def test_sequences_are_views_of_the_file(tmp_path: Path) -> None:
    sequence = write(tmp_path).src(0)
    assert isinstance(sequence, np.memmap) and not sequence.flags.writeable


@pytest.mark.parametrize("i", [-1, 3])
def test_no_sequence(tmp_path: Path, i: int) -> None:
    with pytest.raises(IndexError, match=f"sequence {i} of 3"):
        write(tmp_path).src(i)


def test_several_sequences_at_once(tmp_path: Path) -> None:
    store = write(tmp_path)
    for side, read in (("src", store.src), ("tgt", store.tgt)):
        ids, lengths = store.several(side, np.array([2, 0, 2, 1]))
        assert ids.tolist() == [token for i in (2, 0, 2, 1) for token in read(i)]
        assert lengths.tolist() == [len(read(i)) for i in (2, 0, 2, 1)]
    for wrong in ([0, 3], [-1, 0]):
        with pytest.raises(IndexError, match="of 3"):
            store.several("src", np.array(wrong))


def test_document_borders(tmp_path: Path) -> None:
    assert write(tmp_path, documents=["a", "a", "b"]).documents.tolist() == [0, 2, 3]  # type: ignore[union-attr]


def test_empty(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, 10, documents=False):
        pass
    assert len(Store(tmp_path)) == 0


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no token store here"):
        Store(tmp_path / "no")


def test_unfinished_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), StoreWriter(tmp_path, 10, documents=False) as writer:
        writer.add(Sequences.of([[5]]), Sequences.of([[6]]))
        raise RuntimeError
    with pytest.raises(CorpusError):
        Store(tmp_path)


def test_cut_short(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "src.ids").write_bytes(b"1234")
    with pytest.raises(CorpusError, match=r"src\.ids: 4 bytes, expected 16; prepare the corpus again"):
        Store(tmp_path)


@pytest.mark.parametrize(("vocabulary", "size"), [(65_536, 2), (65_537, 4)])
def test_ids_take_the_narrowest_type(tmp_path: Path, vocabulary: int, size: int) -> None:
    assert write(tmp_path, vocabulary).src(0).itemsize == size


def test_sequences_are_memory_mapped(tmp_path: Path) -> None:
    store = write(tmp_path)
    assert isinstance(store.src(0), np.memmap) and isinstance(store.tgt(2), np.memmap)


def test_view_folder() -> None:
    assert view_folder(Path("c"), "demo") == Path("c/demo")
    assert view_folder(Path("c"), "demo@within-128") == Path("c/demo/within-128")


def test_length_distribution() -> None:
    assert length_distribution(np.array([1, 2, 3, 4, 10]), 6) == {
        "mean": 4.0,
        "median": 3.0,
        "p90": 7.6,
        "max": 10,
        "share_half": 0.6,  # 3, 4 and 10 are at least 6 / 2
        "share_over": 0.2,
    }
    assert length_distribution(np.array([], int)) == {"mean": None, "median": None, "p90": None, "max": None}
