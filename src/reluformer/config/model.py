"""The shape of a Transformer and the memory in each of its places."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, model_validator

from reluformer.config.memory import MemoryConfig
from reluformer.config.settings import Strict, merge, nearest, parse

Kind = Literal["ffn", "encoder_attention", "decoder_attention", "cross_attention"]
ATTENTIONS: tuple[Kind, ...] = ("encoder_attention", "decoder_attention", "cross_attention")
KINDS: tuple[Kind, ...] = ("ffn", *ATTENTIONS)


def kind_of(place: str) -> Kind:
    """Returns the kind of memory in a place: `encoder.0.attention` -> `encoder_attention`."""
    side, _, name = place.split(".")
    if name == "attention":
        return "encoder_attention" if side == "encoder" else "decoder_attention"
    return "cross_attention" if name == "cross_attention" else "ffn"


def changed(base: MemoryConfig, layers: Mapping[str, Mapping[str, Any]], place: str) -> MemoryConfig:
    """Returns `base` with the changes whose pattern matches `place`, in order. Raises `SettingsError`."""
    for pattern, change in layers.items():
        if not fnmatchcase(place, pattern):
            continue
        memory = base.model_dump()
        if change.get("activation", memory["activation"]) != memory["activation"]:
            memory["options"] = {}
        base = parse(MemoryConfig, merge(memory, change), f"layers.{pattern}")
    return base


class ModelConfig(Strict):
    """An encoder-decoder Transformer with a choice of memory in each of four kinds of place."""

    removed = {"activation_dropout": 0.0}

    encoder_layers: int = Field(6, ge=1, description="layers of the encoder")
    decoder_layers: int = Field(6, ge=1, description="layers of the decoder")
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
    dropout: float = Field(0.3, ge=0, lt=1, description="on embeddings and on each module's output")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="on the weights of sequence memories")
    penalty_reduction: Literal["mean", "sum"] = Field(
        "mean", description="over the memories that have a penalty; each memory's is a mean over its rows and heads"
    )
    ffn: MemoryConfig = Field(MemoryConfig(activation="relu"), description="the learned memory of each layer")
    encoder_attention: MemoryConfig = Field(MemoryConfig(), description="self-attention of the encoder")
    decoder_attention: MemoryConfig = Field(MemoryConfig(), description="self-attention of the decoder")
    cross_attention: MemoryConfig = Field(MemoryConfig(), description="attention of the decoder to the source")
    layers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="changes by place, e.g. {encoder.0.attention: {activation: relu}}; '*' matches every layer; "
        "applied in the order written; a new activation starts without the old one's options",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads}: does not divide the width {self.width}")
        places = self.places()
        for pattern in self.layers:
            if not any(fnmatchcase(place, pattern) for place in places):
                raise ValueError(f"layers: no place is called {pattern!r}{nearest(pattern, places)}")
        for place in places:
            self.memory(place)
        return self

    def places(self) -> list[str]:
        """Returns the name of every memory, the encoder's first, in the order in which they are read."""
        encoder = [f"encoder.{i}.{name}" for i in range(self.encoder_layers) for name in ("attention", "ffn")]
        names = ("attention", "cross_attention", "ffn")
        return encoder + [f"decoder.{i}.{name}" for i in range(self.decoder_layers) for name in names]

    def shape(self) -> dict[str, Any]:
        """Returns the settings that determine the parameters: models of equal shape can load each other's weights."""
        keys = ("encoder_layers", "decoder_layers", "width", "heads", "slots", "norm", "share_embeddings")
        shape = {key: getattr(self, key) for key in (*keys, "ffn_bias", "attention_bias")}
        for place in self.places():
            memory = self.memory(place)
            shape[f"{place}.output_norm"] = memory.output_norm
            shape |= {f"{place}.{option}": value for option, value in memory.options.items() if value == "learned"}
        return shape

    def memory(self, place: str) -> MemoryConfig:
        """Returns the memory in one place: its kind's, with the matching changes in `layers`."""
        return changed(getattr(self, kind_of(place)), self.layers, place)
