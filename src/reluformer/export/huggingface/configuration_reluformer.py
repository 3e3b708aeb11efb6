"""The configuration of an exported ReLUFormer or one of its relatives, for Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class ReLUFormerConfig(PretrainedConfig):
    """What config.json says.

    run: the configuration of the training run; `run["model"]` is the model's shape. text: how text is prepared.
    memories: for each memory by its place (`encoder.0.attention`), its activation, the activation's options, and what
    follows the read.
    """

    model_type = "reluformer"

    def __init__(
        self,
        run: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        memories: dict[str, dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.run = run or {}
        self.text = text or {}
        self.memories = memories or {}
        super().__init__(**kwargs)
