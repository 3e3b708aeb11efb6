"""How systems are compared on one test set. No torch in here."""

from __future__ import annotations

from pydantic import Field

from reluformer.settings import Strict

COUNTS = "counts.npz"
"""What each metric counts in each segment (d-BLEU: document) of a translation: scores and paired tests rest on it."""


class SignificanceConfig(Strict):
    """Numbers of samples of sacreBLEU's paired tests; a p-value is never below 1 / (samples + 1)."""

    bootstrap: int = Field(1000, ge=100, description="resamples of the paired bootstrap")
    randomisation: int = Field(10000, ge=100, description="trials of the paired approximate randomisation")
