"""Where a corpus comes from and how it is prepared. No torch in here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reluformer.settings import Strict


class ArchiveConfig(Strict):
    """One file to fetch, by its published name."""

    name: str = Field(description="the file's published name; --config archives=DIR looks for it under DIR")
    urls: list[str] = Field(description="mirrors, tried in order")
    sha256: str | None = Field(None, description="none: recorded at the first download and enforced from then on")


class SegmentsConfig(Strict):
    """Document corpora: whole sentences packed into segments of at most L tokens."""

    packing: list[Literal["within", "across"]] = ["within"]
    lengths: list[int] = Field(description="L, in subword tokens of the longer side")


class CorpusConfig(Strict):
    """One parallel corpus, from its archives to token ids."""

    reader: Literal["homeassistant", "iwslt14", "europarl7", "lines"]
    archives: list[ArchiveConfig]
    lowercase: bool = False
    truecase: bool = False
    min_words: int = Field(1, ge=1, description="pairs with fewer words on either side are dropped")
    max_tokens: int | None = Field(None, description="training pairs with more tokens on either side are dropped")
    max_ratio: float | None = Field(None, description="training pairs with a larger length ratio are dropped")
    vocabulary: int = Field(10_000, description="joint BPE vocabulary")
    documents: bool = Field(False, description="keep document borders")
    segments: SegmentsConfig | None = None
