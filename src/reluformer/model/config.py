"""The shape of a Transformer and the memory in each of its places. No torch in here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from reluformer.memory.config import MemoryConfig
from reluformer.settings import Strict


class ModelConfig(Strict):
    """An encoder-decoder Transformer whose four kinds of memory are chosen one by one."""

    encoder_layers: int = Field(6, ge=1)
    decoder_layers: int = Field(6, ge=1)
    width: int = Field(512, ge=2, description="E, the model dimension")
    heads: int = Field(4, ge=1, description="H, attention heads; the head width is width / heads")
    slots: int = Field(1024, ge=1, description="slots of each learned (FFN) memory")
    vocabulary: int = Field(0, ge=0, description="joint vocabulary; filled in from the corpus, 0 until then")
    norm: Literal["post", "pre"] = Field("post", description="LayerNorm after the residual add, or before the module")
    share_embeddings: Literal["none", "decoder", "all"] = Field(
        "decoder", description="which of source, target and output embeddings are one matrix"
    )
    ffn_bias: bool = Field(False, description="biases in the FFN; the study drops them")
    attention_bias: bool = Field(True, description="biases of the query, key, value and output projections")
    dropout: float = Field(0.3, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="on the weights of sequence memories")
    activation_dropout: float = Field(0.0, ge=0, lt=1, description="on the weights of learned memories")
    ffn: MemoryConfig = MemoryConfig(activation="relu")
    encoder_attention: MemoryConfig = MemoryConfig()
    decoder_attention: MemoryConfig = MemoryConfig()
    cross_attention: MemoryConfig = MemoryConfig()
    layers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="changes per layer, e.g. {encoder.0.attention: {activation: relu}}; '*' matches every layer",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
