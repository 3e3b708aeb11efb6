"""A sentence pair on its way from an archive to the store, and which split it falls into."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal, NamedTuple

from reluformer.config.dataset import HeldOutConfig

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

# What some tools take for the end of a line; it becomes a space so that line n is line n everywhere.
_VERTICAL = re.compile("[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


class Pair(NamedTuple):
    """One aligned pair of raw text lines; `document` is the id of its document, "" where there are none."""

    split: Split
    document: str
    src: str
    tgt: str


def one_line(text: str) -> str:
    """`text` without a character that ends a line in some tool; every other character is kept."""
    return _VERTICAL.sub(" ", text)


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing in it: white space, controls and marks without a width (BOM, zero-width space)."""
    return not text.strip() or all(one.isspace() or unicodedata.category(one) in ("Cc", "Cf") for one in text)


def share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone: the same on every machine and in every order."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest()[:8], "big") / 2**64


def split_of(key: str, held_out: HeldOutConfig) -> Split:
    """The split of a document id (or of a source text, so that equal texts stay together)."""
    at = share(key)
    if at < held_out.test:
        return "test"
    return "valid" if at < held_out.test + held_out.valid else "train"
