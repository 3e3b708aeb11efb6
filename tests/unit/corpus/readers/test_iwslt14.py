from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.pairs import Pair
from reluformer.corpus.readers.iwslt14 import TEST_SETS, read

CONFIG = CorpusConfig.model_validate({"reader": "iwslt14", "archives": [{"name": "de-en.tgz"}], "valid_every": 23})


def talk(language: str, number: int = 1) -> str:
    return (
        f"<url>http://example.org/{language}/{number}</url>\n"
        "<keywords>talks</keywords>\n"
        "<speaker>someone</speaker>\n"
        f"<talkid>{number}</talkid>\n"
        f"<title>Title {language}</title>\n"
        f"<description>TED Talk: {language}</description>\n"
        f"First, {language}.\n"
        f"Second, {language}.\n"
        "<reviewer>someone</reviewer>\n"
        "<translator>someone</translator>\n"
    )


def test_set(name: str, language: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<doc docid="1">\n<title>Not text</title>\n'
        f'<seg id="1"> It’s {name} {language} &amp; more. </seg>\n<seg id="2">Two</seg>\n</doc>\n</mteval>\n'
    )


test_set.__test__ = False  # type: ignore[attr-defined]


def archive(folder: Path, changes: dict[str, str | None] | None = None) -> dict[str, Path]:
    """Writes a synthetic archive in the published layout; `changes` replaces or removes files by name."""
    files: dict[str, str | None] = {}
    for language in ("de", "en"):
        files[f"train.tags.de-en.{language}"] = talk(language, 1) + talk(language, 2)
        for name in TEST_SETS:
            files[f"IWSLT14.{name}.de-en.{language}.xml"] = test_set(name, language)
    with tarfile.open(folder / "de-en.tgz", "w:gz") as tar:
        for name, text in (files | (changes or {})).items():
            if text is not None:
                member = tarfile.TarInfo(f"de-en/{name}")
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    return {"de-en.tgz": folder / "de-en.tgz"}


def test_training_text(tmp_path: Path) -> None:
    pairs = [pair for pair in read(CONFIG, "de", "en", archive(tmp_path), Counter()) if pair.split == "train"]
    assert pairs[:4] == [
        Pair("train", "", "Title de", "Title en"),
        Pair("train", "", "TED Talk: de", "TED Talk: en"),
        Pair("train", "", "First, de.", "First, en."),
        Pair("train", "", "Second, de.", "Second, en."),
    ]
    assert len(pairs) == 8


def test_test_text_in_the_order_of_fairseq(tmp_path: Path) -> None:
    pairs = [pair for pair in read(CONFIG, "de", "en", archive(tmp_path), Counter()) if pair.split == "test"]
    assert [pair.src for pair in pairs[::2]] == [
        f"It’s {name} de &amp; more."
        for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
    ]
    assert pairs[1] == Pair("test", "", "Two", "Two")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.tags.de-en.de": None}, r"de-en/train\.tags\.de-en\.de: the file is missing"),
        ({"IWSLT14.TED.tst2011.de-en.en.xml": None}, r"tst2011\.de-en\.en\.xml: the file is missing"),
        (
            {"train.tags.de-en.en": talk("en").replace("<title>Title en</title>", "Title en") + talk("en", 2)},
            r"train\.tags\.de-en\.de:5 and .*train\.tags\.de-en\.en:5: a tag is missing on one side",
        ),
        (
            {"train.tags.de-en.en": talk("en").replace("<talkid>1</talkid>\n", "1\n") + talk("en", 2)},
            r"train\.tags\.de-en\.de:5 and .*train\.tags\.de-en\.en:4: a tag is missing",
        ),
        ({"train.tags.de-en.de": talk("de") + talk("de", 2) + "more\n"}, r"en ends at line 8, .*de at line 9"),
        ({"train.tags.de-en.de": ""}, r"train\.tags\.de-en\.de: the file is empty"),
        ({"train.tags.de-en.de": "a\0\n"}, r"train\.tags\.de-en\.de:1: a NUL byte"),
        (
            {"IWSLT14.TED.tst2010.de-en.de.xml": '<seg id="1"> open\n'},
            r"tst2010\.de-en\.de\.xml:1: a <seg> line without both of its tags",
        ),
    ],
    ids=["no train", "no test", "no title tag", "no talkid tag", "unequal", "empty", "nul", "open seg"],
)
def test_broken_archives_name_file_and_line(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        list(read(CONFIG, "de", "en", archive(tmp_path, changes), Counter()))
