"""The demo corpus: the translations in the Home Assistant wheel.

Each integration has `translations/LANG.json` with the same keys in every language. The two texts of a key are a
sentence pair, an integration is a document, and its sentences are in the order of the source file's keys.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.content import content_of
from reluformer.corpus.pairs import Pair

_FILE = re.compile(r"homeassistant/components/([^/]+)/translations/([^/]+)\.json")


def read(config: CorpusConfig, src: str, tgt: str, files: dict[str, Path], left_out: Counter[str]) -> Iterator[Pair]:
    """Yields the pairs of one wheel, integration by integration in alphabetical order. Raises `CorpusError`."""
    (path,) = files.values()
    try:
        wheel = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise CorpusError(f"{path}: {content_of(path)}, where a wheel (a zip archive) is expected") from None
    with wheel:
        languages_of: dict[str, set[str]] = {}
        for name in wheel.namelist():
            if match := _FILE.fullmatch(name):
                languages_of.setdefault(match[1], set()).add(match[2])
        documents = sorted(document for document, languages in languages_of.items() if {src, tgt} <= languages)
        if not documents:
            raise CorpusError(f"{path}: no integration has translations in both {src!r} and {tgt!r}")
        for document in documents:
            src_texts, tgt_texts = (_texts(wheel, path, document, language) for language in (src, tgt))
            for key, text in src_texts.items():
                if key in tgt_texts:
                    yield Pair("train", document, text, tgt_texts[key])
            alone = len(src_texts.keys() ^ tgt_texts.keys())
            if alone:
                left_out["texts without a translation"] += alone


def _texts(wheel: zipfile.ZipFile, path: Path, document: str, language: str) -> dict[str, str]:
    """Returns the texts of one file by their dotted keys, with white space as single spaces."""
    name = f"homeassistant/components/{document}/translations/{language}.json"
    try:
        data = json.loads(wheel.read(name))
    except (ValueError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path}: {name}: {error}") from None
    return {key: " ".join(text.split()) for key, text in _flatten(data, "") if text.strip()}


def _flatten(data: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield f"{prefix}{key}", value
