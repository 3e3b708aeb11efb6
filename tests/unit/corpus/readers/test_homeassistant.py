from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError, readers
from reluformer.corpus.readers.homeassistant import read

CONFIG = CorpusConfig.model_validate(
    {"reader": "homeassistant", "archives": [{"name": "w"}], "held_out": {"valid": 0.2, "test": 0.2}}
)


def wheel(folder: Path, texts: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Writes a wheel with `texts[integration][language]` as its translations."""
    with zipfile.ZipFile(folder / "w", "w") as file:
        file.writestr("homeassistant/core.py", "")
        file.writestr("homeassistant/components/hue/strings.json", "{}")
        for name, languages in texts.items():
            for language, data in languages.items():
                path = f"homeassistant/components/{name}/translations/{language}.json"
                file.writestr(path, data if isinstance(data, str) else json.dumps(data))
    return {"w": folder / "w"}


def test_pairs_by_key_in_file_order(tmp_path: Path) -> None:
    files = wheel(
        tmp_path,
        {
            "zha": {"de": {"a": "Zett"}, "en": {"a": "Zed"}},
            "hue": {
                "de": {"b": {"y": "Zweite\n\nZeile", "x": "Erste"}, "only": "nur", "a": "Letzte", "blank": " "},
                "en": {"a": "Last", "b": {"x": "First", "y": "Second  line"}, "blank": "full"},
            },
            "mqtt": {"en": {"a": "no German"}},
        },
    )
    pairs = list(read(CONFIG, "de", "en", files, Counter()))
    assert [(pair.document, pair.src, pair.tgt) for pair in pairs] == [
        ("hue", "Zweite Zeile", "Second line"),
        ("hue", "Erste", "First"),
        ("hue", "Letzte", "Last"),
        ("zha", "Zett", "Zed"),
    ]


def test_a_document_is_in_one_split(tmp_path: Path) -> None:
    texts = {f"i{n}": {"de": {"a": "x", "b": "y"}, "en": {"a": "x", "b": "y"}} for n in range(100)}
    archives = list(wheel(tmp_path, texts).values())
    pairs = list(readers.read(CONFIG, "de", "en", archives))
    assert len({(pair.document, pair.split) for pair in pairs}) == 100
    assert {pair.split for pair in pairs} == {"train", "valid", "test"}
    backwards = list(readers.read(CONFIG, "en", "de", archives))
    assert [pair.split for pair in backwards] == [pair.split for pair in pairs]


def test_not_a_wheel(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("text")
    with pytest.raises(CorpusError, match=r"w: text, where a wheel \(a zip archive\) is expected"):
        list(read(CONFIG, "de", "en", {"w": tmp_path / "w"}, Counter()))


def test_no_such_language(tmp_path: Path) -> None:
    files = wheel(tmp_path, {"hue": {"de": {"a": "x"}, "en": {"a": "x"}}})
    with pytest.raises(CorpusError, match="no integration has translations in both 'de' and 'xx'"):
        list(read(CONFIG, "de", "xx", files, Counter()))


def test_broken_json(tmp_path: Path) -> None:
    files = wheel(tmp_path, {"hue": {"de": "{", "en": {"a": "x"}}})
    with pytest.raises(CorpusError, match=r"w: homeassistant/components/hue/translations/de\.json: "):
        list(read(CONFIG, "de", "en", files, Counter()))
