"""From tokenised text back to text as people write it, for scores on detokenised text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sacremoses import MosesDetokenizer


@lru_cache
def _detokenizer(language: str) -> MosesDetokenizer:
    return MosesDetokenizer(lang=language)


def detokenise(sentence: str, language: str, recase: bool = False) -> str:
    """A Moses-tokenised sentence as plain text, entities unescaped.

    `recase` undoes truecasing: the first letter of the sentence becomes a capital, as Moses' detruecase does.
    """
    text: str = _detokenizer(language).detokenize(sentence.split())
    return capitalise(text) if recase else text


def capitalise(text: str) -> str:
    """`text` with its first letter as a capital, marks before it left alone."""
    for position, character in enumerate(text):
        if character.isalnum():
            return text[:position] + character.upper() + text[position + 1 :]
    return text


def detokenise_all(sentences: Iterable[str], language: str, recase: bool = False) -> list[str]:
    """`detokenise` for each sentence, in order."""
    return [detokenise(sentence, language, recase) for sentence in sentences]
