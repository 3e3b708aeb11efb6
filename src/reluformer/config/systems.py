"""The systems of systems.yaml: the memory in each place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from reluformer.config.memory import MemoryConfig
from reluformer.config.model import ATTENTIONS
from reluformer.config.settings import Strict, merge, parse, read_yaml, refuse_clash, require_name


class SystemConfig(Strict):
    """A system by name: the memory in each place. `attention` stands for all three attentions.

    The default is the Transformer: ReLU in the FFN, Softmax in the attentions.
    """

    title: str = Field(description="in tables and figures")
    ffn: dict[str, Any] = Field(default_factory=dict, description="the memory of each FFN; keys: `model.ffn`")
    attention: dict[str, Any] = Field(default_factory=dict, description="of all three attentions; keys: `model.ffn`")
    encoder_attention: dict[str, Any] = Field(default_factory=dict, description="changes to `attention`, encoder")
    decoder_attention: dict[str, Any] = Field(default_factory=dict, description="changes to `attention`, decoder")
    cross_attention: dict[str, Any] = Field(default_factory=dict, description="changes to `attention`, cross")
    layers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="changes by place, as `model.layers`")

    def memories(self) -> dict[str, Any]:
        """Returns the keys of `model` that this system sets."""
        attentions: dict[str, Any] = {place: merge(self.attention, getattr(self, place)) for place in ATTENTIONS}
        return {"ffn": merge({"activation": "relu"}, self.ffn), **attentions, "layers": self.layers}


def read_systems(path: Path) -> dict[str, SystemConfig]:
    """Reads systems.yaml. Raises `SettingsError`."""
    systems = {}
    for name, data in read_yaml(path).items():
        require_name(name, f"{path}: systems")
        systems[name] = parse(SystemConfig, data, f"{path}: {name}")
        for place, memory in systems[name].memories().items():
            if place != "layers":
                parse(MemoryConfig, memory, f"{path}: {name}: {place}")
    refuse_clash(systems, str(path))
    return systems
