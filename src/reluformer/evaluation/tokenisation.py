"""Chooses sacreBLEU's tokeniser for a language.

13a counts words between spaces, which some languages do not write: their BLEU would be 0 or 100, a clause being a word.
Chinese, Japanese and Korean have tokenisers of their own, the latter two if their dictionaries are installed
(`pip install sacrebleu[ja,ko]`); others are scored by character.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from reluformer.config.evaluation import PLAIN, Tokenizer, tokenizer_of
from reluformer.config.settings import SettingsError

SPLITTING = ("zh", "char", "ja-mecab", "ko-mecab")
"""Tokenisers that find words in text without spaces."""


def choose(
    language: str, tokenizer: Tokenizer | None = None, warn: Callable[[str], None] = lambda message: None
) -> Tokenizer:
    """Returns `tokenizer`, or by default the tokeniser for a language (`zh`, `zh-TW`, `jpn_Jpan`).

    Calls `warn` if a language's own is not available. Raises `SettingsError` if `tokenizer` is not installed.
    """
    if tokenizer is not None:
        if (reason := missing(tokenizer)) is not None:
            raise SettingsError(f"tokenizer: {tokenizer!r}: {reason}")
        return tokenizer
    name = tokenizer_of(language)
    if name == "char":
        warn(f"sacreBLEU has no tokeniser of {language!r}: BLEU and lengths are by character (char)")
    elif name != PLAIN and missing(name) is not None:
        warn(f"{name} is not installed: BLEU and lengths of {language!r} are by character (char)")
        return "char"
    return name


@lru_cache
def missing(name: Tokenizer) -> str | None:
    """Returns why a tokeniser does not work here; None if it does."""
    try:
        _tokenizer(name)
    except (RuntimeError, ImportError, AssertionError, AttributeError) as error:
        return " ".join(str(error).split()) or "not installed"
    return None


@lru_cache
def _tokenizer(name: Tokenizer) -> Any:
    return BLEU(tokenize=name).tokenizer


def signature(name: Tokenizer) -> str:
    """Returns the tokeniser's part of sacreBLEU's signature."""
    return str(_tokenizer(name).signature())


def count_words(text: str, name: Tokenizer) -> int:
    """Counts the words of a line: between spaces or, for languages without them, by the tokeniser."""
    if name not in SPLITTING:
        return len(text.split())
    return len(_tokenizer(name)(text.strip()).split())


def unit(name: Tokenizer) -> str:
    """Returns the unit that `count_words` counts in."""
    return "characters" if name in ("zh", "char") else "words"
