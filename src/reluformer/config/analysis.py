"""How a trained run is measured. No torch in here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reluformer.config.settings import Strict


class AnalysisConfig(Strict):
    """What is measured over; the defaults suit a test split on one CPU core as well as on a GPU."""

    split: Literal["train", "valid", "test"] = "test"
    batch_tokens: int = Field(default=2048, ge=1, description="tokens of a batch on its longer side, padding included")
    top_rows: int = Field(
        default=2048,
        ge=1,
        description="rows a place whose weights are sorted for top_share, evenly spread over the split",
    )
    gradient_batches: int = Field(default=4, ge=1, description="batches whose gradients are averaged")
    gradient_tokens: int = Field(default=512, ge=1, description="target tokens of each of them, about")
    map_tokens: int = Field(default=512, ge=1, description="tokens of each axis of the attention maps at most")
