"""sacreBLEU's tokeniser of a language: 13a counts words between spaces, which some languages do not write.

BLEU of such a language is 0 or 100 by 13a, a clause being a word. Chinese, Japanese and Korean have tokenisers of their
own, the latter two if their dictionaries are installed (`pip install sacrebleu[ja,ko]`); others are scored by
character.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU

from reluformer.config.evaluation import PLAIN, Tokenizer
from reluformer.config.settings import SettingsError

SCRIPTS_WITH_SPACES = ("latn", "cyrl", "arab", "deva")
OWN: dict[str, Tokenizer] = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu", "gan", "hak", "hsn", "lzh", "cdo", "nan"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
    **dict.fromkeys(("th", "tha", "nod", "tts"), "char"),  # Thai, Northern Thai, Isan
    **dict.fromkeys(("lo", "lao", "km", "khm", "khb"), "char"),  # Lao, Khmer, Tai Lue
    **dict.fromkeys(("my", "mya", "bur", "rki", "shn", "mnw", "ksw"), "char"),  # Burmese, Arakanese, Shan, Mon, Karen
    **dict.fromkeys(("bo", "bod", "tib", "dz", "dzo", "ii", "iii"), "char"),  # Tibetan, Dzongkha, Yi
}
SPLITTING = ("zh", "char", "ja-mecab", "ko-mecab")
"""Tokenisers that find words where there are no spaces."""


class Chosen(NamedTuple):
    """A tokeniser by its name, and what is to be said of the choice ("" of nothing)."""

    name: Tokenizer
    note: str = ""


def choose(language: str, asked: Tokenizer | None = None) -> Chosen:
    """The tokeniser for text of a language (`zh`, `zh-TW`, `jpn_Jpan`); `asked`: the one to use instead.

    Raises `SettingsError` if the one asked for is not installed.
    """
    if asked is not None:
        if (reason := missing(asked)) is not None:
            raise SettingsError(f"tokenizer: {asked!r}: {reason}")
        return Chosen(asked)
    base, *others = re.split(r"[-_]", language.lower())
    name = OWN.get(base, PLAIN)
    if name == PLAIN or any(other in SCRIPTS_WITH_SPACES for other in others):
        return Chosen(PLAIN)
    if name == "char":
        return Chosen("char", f"sacreBLEU has no tokeniser of {language!r}: BLEU and lengths are by character (char)")
    if missing(name) is not None:
        return Chosen("char", f"{name} is not installed: BLEU and lengths of {language!r} are by character (char)")
    return Chosen(name)


@lru_cache
def missing(name: Tokenizer) -> str | None:
    """Why a tokeniser cannot be used here; None if it can."""
    try:
        _tokenizer(name)
    except (RuntimeError, ImportError, AssertionError, AttributeError) as error:
        return " ".join(str(error).split()) or "not installed"
    return None


@lru_cache
def _tokenizer(name: Tokenizer) -> Any:
    return BLEU(tokenize=name).tokenizer


def signature(name: Tokenizer) -> str:
    """What stands in sacreBLEU's signature."""
    return str(_tokenizer(name).signature())


def count_words(text: str, name: Tokenizer) -> int:
    """Words of a line: between spaces, or as a tokeniser finds them where there are none."""
    if name not in SPLITTING:
        return len(text.split())
    return len(_tokenizer(name)(text.strip()).split())


def plain(tokens: str) -> str:
    """Moses' tokens without its escapes, which a tokeniser by character would take apart."""
    return html.unescape(tokens)


def unit(name: Tokenizer) -> str:
    """What `count_words` counts."""
    return "characters" if name in ("zh", "char") else "words"
