"""How systems are compared on one test set. No torch in here."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from reluformer.config.settings import Strict

COUNTS = "counts.npz"
"""What each metric counts in each segment (d-BLEU: document) of a translation: scores and paired tests rest on it."""


Tokenizer = Literal["13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "none"]
"""sacreBLEU's tokenisers that need no download."""
TOKENIZERS: tuple[Tokenizer, ...] = get_args(Tokenizer)
PLAIN: Tokenizer = "13a"
"""sacreBLEU's tokeniser of languages with spaces between words."""


class SignificanceConfig(Strict):
    """Numbers of samples of sacreBLEU's paired tests; a p-value is never below 1 / (samples + 1)."""

    bootstrap: int = Field(1000, ge=100, description="resamples of the paired bootstrap")
    randomisation: int = Field(10000, ge=100, description="trials of the paired approximate randomisation")
