"""A small ReLUFormer and a ragged batch for the proofs of `ops.paths` and for `training.self_test`."""

from __future__ import annotations

import torch
from torch import Tensor

from reluformer.config.memory import MemoryConfig
from reluformer.config.model import ATTENTIONS, ModelConfig
from reluformer.model.transformer import Transformer

RELU = MemoryConfig.model_validate({"activation": "relu-scaled", "options": {"gamma": 2.0}, "penalty": {}})
SMALL = ModelConfig(
    encoder_layers=1,
    decoder_layers=1,
    width=64,
    heads=2,
    slots=64,
    vocabulary=50,
    dropout=0.0,
    **dict.fromkeys(ATTENTIONS, RELU),
)


def small_reluformer(device: str) -> Transformer:
    """Returns `SMALL` with random weights from a fixed seed."""
    torch.manual_seed(1)
    return Transformer(SMALL).to(device)


def ragged_batch(device: str) -> tuple[Tensor, Tensor]:
    """Returns random tokens [6, 9] and the mask of their lengths."""
    lengths = torch.tensor([9, 7, 7, 5, 3, 2], device=device)
    tokens = torch.randint(5, SMALL.vocabulary, (6, 9), device=device)
    return tokens, torch.arange(9, device=device) < lengths[:, None]
