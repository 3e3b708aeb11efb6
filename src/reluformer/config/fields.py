"""Types of fields that several configurations share: language codes, lists without repetitions; names as files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator

T = TypeVar("T")
LANGUAGE = re.compile(r"[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*")


def distinct(values: list[T]) -> list[T]:
    """`values`. Raises `ValueError` if one is there twice; 1 and 1.0 are one value."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"{value!r} is there twice")
    return values


def _language(code: str) -> str:
    if not LANGUAGE.fullmatch(code):
        raise ValueError("not a language code such as de, pt-BR or zh_Hant")
    return code


Distinct = Annotated[list[T], AfterValidator(distinct)]
"""A list in which nothing is there twice."""
Language = Annotated[str, AfterValidator(_language)]
"""A language code; it is part of file names."""


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that are one file where case or the form of accents is ignored; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            return other, name
    return None
