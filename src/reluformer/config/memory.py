"""How a memory is read: its activation, its penalty, the norm of its output.

To add an activation, write its class in `reluformer.memory.activations` and one line in `ACTIVATIONS`: see
docs/add-a-system.md.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from reluformer.config.settings import Strict, nearest

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Gamma = Positive | Literal["learned"]
Alpha = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bias = Annotated[float, Field(allow_inf_nan=False)]


class Activation(NamedTuple):
    """An activation's class, and the type of each of its options."""

    target: str
    options: dict[str, Any]


ACTIVATIONS: dict[str, Activation] = {
    "softmax": Activation("reluformer.memory.activations:Softmax", {"temperature": Positive}),
    "relu": Activation("reluformer.memory.activations:ReLU", {}),
    "relu-scaled": Activation("reluformer.memory.activations:ScaledReLU", {"gamma": Gamma}),
    "sparsemax": Activation("reluformer.memory.activations:Sparsemax", {"temperature": Positive}),
    "entmax15": Activation("reluformer.memory.activations:Entmax15", {"temperature": Positive}),
    "relu-length": Activation("reluformer.memory.rectified:LengthScaledReLU", {"alpha": Alpha}),
    "relu-squared": Activation("reluformer.memory.rectified:SquaredReLU", {"alpha": Alpha}),
    "relu-shifted": Activation("reluformer.memory.rectified:ShiftedReLU", {"bias": Bias}),
    "sigmoid": Activation("reluformer.memory.rectified:Sigmoid", {}),
    "softpick": Activation("reluformer.memory.rectified:Softpick", {}),
    "softmax-scalable": Activation("reluformer.memory.rectified:ScalableSoftmax", {}),
    "softplus": Activation("reluformer.memory.rectified:Softplus", {}),
    "entmax": Activation("reluformer.memory.rectified:LearnedEntmax", {}),
}
_adapter = functools.cache(TypeAdapter)


class PenaltyConfig(Strict):
    """Eq. 7: per row, L = |log Σs| + max(H(s) − C, 0) with C = margin · log n.

    The model's `penalty_reduction` combines the memories' penalties.
    """

    weight: float = Field(default=0.1, ge=0, description="λ, the weight of the penalty in the training loss")
    margin: float = Field(default=0.7, ge=0, description="C / log n: the entropy allowed without penalty")
    normalisation: bool = Field(default=True, description="the |log Σs| term")
    absolute: bool = Field(
        default=True, description="the bars of |log Σs|; without them the minimum is a sum of 0 (bounded at log 1e-4)"
    )
    entropy: bool = Field(default=True, description="the max(H(s) − C, 0) term")
    entropy_of: Literal["normalised", "raw"] = Field(default="normalised", description="H of s/Σs, or of s itself")


class MemoryConfig(Strict):
    """One memory: f in `out = f(q·Kᵀ)·V`, its penalty, and the norm of its output."""

    renamed = {"after": "output_norm"}

    activation: str = Field(default="softmax", description="a name in the registry ACTIVATIONS")
    options: dict[str, Any] = Field(default_factory=dict, description="the activation's options, e.g. gamma")
    output_norm: Literal["nothing", "layernorm", "rmsnorm", "gated-rmsnorm"] = Field(
        default="nothing", description="of the memory's output, before the residual connection"
    )
    output_gate: bool = Field(default=False, description="multiply each head's output by a sigmoid of its token")
    query_key_norm: bool = Field(default=False, description="attentions only: RMSNorm of each head's queries and keys")
    anneal_from_softmax: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="attentions trained from random weights: the share of updates in which softmax's weights are "
        "blended linearly into the activation's",
    )
    penalty: PenaltyConfig | None = Field(default=None, description="Eq. 7, or none")

    @field_validator("activation")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ACTIVATIONS:
            raise ValueError(f"unknown activation{nearest(name, ACTIVATIONS)}")
        return name

    @field_validator("options")
    @classmethod
    def _options(cls, options: dict[str, Any], info: Any) -> dict[str, Any]:
        if "activation" not in info.data:
            return options
        known = ACTIVATIONS[info.data["activation"]].options
        checked = {}
        for key, value in options.items():
            if key not in known:
                raise ValueError(f"{info.data['activation']} has no option {key!r}{nearest(key, known)}")
            try:
                checked[key] = _adapter(known[key]).validate_python(value, strict=False)
            except ValidationError as error:
                message = " or ".join(e["msg"][0].lower() + e["msg"][1:] for e in error.errors())
                raise ValueError(f"option {key}: {value!r}: {message}") from None
        return checked
