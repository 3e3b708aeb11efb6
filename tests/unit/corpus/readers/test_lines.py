from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.pairs import Pair
from reluformer.corpus.readers import read


def pairs(folder: Path, src: str, tgt: str, **settings: Any) -> list[Pair]:
    """Returns the pairs of a corpus with the training text `src` and `tgt`."""
    for name, text in (("a.src", src), ("a.tgt", tgt)):
        (folder / name).write_text(text, encoding="utf-8")
    base: dict[str, Any] = {
        "reader": "lines",
        "archives": [{"name": "a.src"}, {"name": "a.tgt"}],
        "files": {"train": {"src": "a.src", "tgt": "a.tgt"}},
        "held_out": {"valid": 1e-9, "test": 1e-9},
    }
    config = CorpusConfig.model_validate(base | settings)
    return list(read(config, "de", "en", [folder / "a.src", folder / "a.tgt"]))


def test_plain(tmp_path: Path) -> None:
    assert pairs(tmp_path, "eins\nzwei\n", "one\ntwo\n") == [
        Pair("train", "", "eins", "one"),
        Pair("train", "", "zwei", "two"),
    ]


def test_documents(tmp_path: Path) -> None:
    result = pairs(tmp_path, "<d>\na\nb\n<d>\nc\n", "<d>\nx\ny\n<d>\r\nz\n", document_mark="<d>", documents=True)
    assert result == [
        Pair("train", "train-1", "a", "x"),
        Pair("train", "train-1", "b", "y"),
        Pair("train", "train-2", "c", "z"),
    ]


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        ("<d>\na\n<d>\nb\n", "<d>\nx\ny\nz\n", r"a\.src:3: <d> without its counterpart in .*a\.tgt"),
        ("<d>\na\nb\n", "<d>\nx\n<d>\n", r"a\.tgt:3: <d> without its counterpart in .*a\.src"),
        ("a\n<d>\nb\n", "x\n<d>\ny\n", r"a\.src:1: text before the first <d>"),
        ("<d>\na\nb\n", "<d>\nx\n", r"a\.tgt ends at line 2, .*a\.src at line 3"),
    ],
    ids=["mark on one side", "mark on the other", "text before", "unequal"],
)
def test_misplaced_marks(tmp_path: Path, src: str, tgt: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        pairs(tmp_path, src, tgt, document_mark="<d>", documents=True)


def test_marks_are_text_without_the_setting(tmp_path: Path) -> None:
    assert [pair.src for pair in pairs(tmp_path, "<d>\na\n", "<d>\nx\n")] == ["<d>", "a"]


def test_held_out_by_document(tmp_path: Path) -> None:
    text = "".join(f"<d>\n{i} a\n{i} b\n" for i in range(200))
    settings = {"held_out": {"valid": 0.1, "test": 0.2}, "document_mark": "<d>", "documents": True}
    result = pairs(tmp_path, text, text, **settings)
    splits: dict[str, set[str]] = {}
    for pair in result:
        splits.setdefault(pair.document, set()).add(pair.split)
    assert all(len(split) == 1 for split in splits.values())
    assert {split for document in splits.values() for split in document} == {"train", "valid", "test"}


def test_held_out_by_text_keeps_equal_texts_together(tmp_path: Path) -> None:
    text = "".join(f"{i % 100}\n" for i in range(300))
    result = pairs(tmp_path, text, text, held_out={"valid": 0.3, "test": 0.3})
    assert len({(pair.src, pair.split) for pair in result}) == 100
    assert {pair.split for pair in result} == {"train", "valid", "test"}


def test_own_splits_and_gzip(tmp_path: Path) -> None:
    names = [f"{split}.{side}.gz" for split in ("train", "valid", "test") for side in ("src", "tgt")]
    for name in names:
        (tmp_path / name).write_bytes(gzip.compress(f"{name}\n".encode()))
    config = CorpusConfig.model_validate(
        {
            "reader": "lines",
            "archives": [{"name": name} for name in names],
            "files": {s: {"src": f"{s}.src.gz", "tgt": f"{s}.tgt.gz"} for s in ("train", "valid", "test")},
        }
    )
    result = list(read(config, "de", "en", [tmp_path / name for name in names]))
    assert result == [Pair(s, "", f"{s}.src.gz", f"{s}.tgt.gz") for s in ("train", "valid", "test")]  # type: ignore[arg-type]
