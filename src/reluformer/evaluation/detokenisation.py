"""From Moses' tokens to plain text. Imports sacremoses, which takes 0.2 s."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sacremoses import MosesDetokenizer


@lru_cache
def _detokenizer(language: str) -> MosesDetokenizer:
    return MosesDetokenizer(lang=language)


def detokenise(sentence: str, language: str, recase: bool = False) -> str:
    """Detokenises and unescapes a Moses-tokenised sentence.

    `recase` undoes truecasing as Moses' detruecase does: the first letter becomes a capital.
    """
    text: str = _detokenizer(language).detokenize(sentence.split())
    first = next((i for i, character in enumerate(text) if character.isalnum()), len(text))
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :] if recase else text


def detokenise_all(sentences: Iterable[str], language: str, recase: bool = False) -> list[str]:
    """Detokenises each sentence."""
    return [detokenise(sentence, language, recase) for sentence in sentences]
