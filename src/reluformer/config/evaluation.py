"""How trained runs are scored and compared on a test set."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from reluformer.config.settings import Strict

COUNTS = "counts.npz"
"""Counts of each metric for each segment (d-BLEU: document), from which scores and paired tests are computed."""


Tokenizer = Literal["13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "none"]
"""sacreBLEU's tokenisers that need no download."""
PLAIN: Tokenizer = "13a"
"""sacreBLEU's tokeniser for languages with spaces between words."""
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


def tokenizer_of(language: str) -> Tokenizer:
    """Returns sacreBLEU's tokeniser for a language (`zh`, `zh-TW`, `jpn_Jpan`), installed or not."""
    base, *others = re.split(r"[-_]", language.lower())
    return PLAIN if any(other in SCRIPTS_WITH_SPACES for other in others) else OWN.get(base, PLAIN)


def has_spaces(language: str) -> bool:
    """Returns whether a language writes spaces between words."""
    return tokenizer_of(language) in (PLAIN, "ko-mecab")


class SignificanceConfig(Strict):
    """Samples of sacreBLEU's paired tests; a p-value is at least 1 / (samples + 1)."""

    bootstrap: int = Field(1000, ge=100, description="resamples of the paired bootstrap")
    randomisation: int = Field(10000, ge=100, description="trials of the paired approximate randomisation")
