from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus.pack import pack
from reluformer.corpus.prepare import prepare
from reluformer.paper.corpus_page import write_page


class Cells(HTMLParser):
    """The texts of a page's table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("documents", [False, True])
def test_page_has_source_steps_and_lengths(
    write_corpus: Callable[..., tuple[CorpusConfig, list[Path]]], tmp_path: Path, documents: bool
) -> None:
    segments = {"packing": ["within"], "lengths": [48]} if documents else None
    config, archives = write_corpus(documents=documents, segments=segments)
    prepare(config, "de", "en", archives, tmp_path / "made-up", 1)
    if documents:
        pack(config, "de", "en", tmp_path / "made-up", "within", 48)
    write_page(tmp_path / "made-up", ["within-48"] if documents else [], tmp_path / "page.html", "the toy <corpus>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Cells()
    page.feed(text)
    assert "Corpus made-up: de to en" in page.texts
    assert {"train.src", "in held out", "300", "train tgt"} <= set(page.texts)
    assert ("within-48 test" in page.texts) == documents
    assert "<corpus>" not in text
