"""A system of systems.yaml: the memory in each place. Does not import torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from reluformer.config.model import ATTENTIONS
from reluformer.config.settings import Strict, merge


class SystemConfig(Strict):
    """A system by name: the memory in each place. `attention` stands for all three attentions.

    What is not said is the Transformer's: ReLU in the FFN, Softmax in the attentions.
    """

    title: str
    ffn: dict[str, Any] = Field(default_factory=dict)
    attention: dict[str, Any] = Field(default_factory=dict)
    encoder_attention: dict[str, Any] = Field(default_factory=dict)
    decoder_attention: dict[str, Any] = Field(default_factory=dict)
    cross_attention: dict[str, Any] = Field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def memories(self) -> dict[str, Any]:
        """The part of a model's configuration that this system decides."""
        attentions: dict[str, Any] = {place: merge(self.attention, getattr(self, place)) for place in ATTENTIONS}
        return {"ffn": merge({"activation": "relu"}, self.ffn), **attentions, "layers": self.layers}
