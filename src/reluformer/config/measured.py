"""What a study of speed and memory measures. No torch in here."""

from __future__ import annotations

from pydantic import Field

from reluformer.config.settings import Strict


class MeasuringConfig(Strict):
    """Points and effort of a measured study: each system at each length, once a round, systems one after another."""

    lengths: list[int] = Field(min_length=1, description="tokens of every source and every target, ascending")
    rounds: int = Field(5, ge=1, description="times that every point is measured")
    batch_tokens: int = Field(4096, ge=1, description="target tokens of an update; a longer sentence is alone in it")
    seconds: float = Field(1.0, gt=0, description="least time of the updates, and of the searches, that are timed")
    limit: float = Field(120.0, gt=0, description="seconds after which training or decoding at a point is too slow")
