"""How a model translates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reluformer.config.settings import Strict

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class TranslationConfig(Strict):
    """Beam search: hypotheses are ranked by log-probability / length ** length_penalty, as in fairseq."""

    beam: int = Field(5, ge=1, description="hypotheses kept at each step")
    length_penalty: float = Field(1.0, ge=0, description="the exponent of the length")
    max_ratio: float = Field(1.2, gt=0, description="hypothesis length limit: max_ratio · source + max_extra")
    max_extra: int = Field(10, ge=0, description="see max_ratio")
    batch_tokens: int = Field(
        4096, ge=1, description="source tokens of a batch, padding included; on a CPU at most 1,200"
    )
    precision: Precision = Field(
        "fp32",
        description="fp32, fp16 or bf16: weights and caches on CUDA (a CPU uses fp32); "
        "int8: weights on a CPU, quantised per row",
    )
    graphs: bool = Field(True, description="search with CUDA graphs if the model allows it")
