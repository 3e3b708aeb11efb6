"""Trains JoeyNMT: its model, loss, batch and optimizer, in the steps of its `TrainManager._train_step`."""

from __future__ import annotations

import importlib.metadata
import sys
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

sys.modules["importlib_metadata"] = importlib.metadata  # JoeyNMT 2.3.0 asks for the backport

from joeynmt.batch import Batch as JoeyBatch  # noqa: E402
from joeynmt.builders import build_optimizer  # noqa: E402
from joeynmt.model import build_model  # noqa: E402
from joeynmt.transformer_layers import MultiHeadedAttention, PositionwiseFeedForward  # noqa: E402
from joeynmt.vocabulary import Vocabulary  # noqa: E402
from trainee import Batch, Special, Trainee  # noqa: E402

SPECIAL = Special(pad=1, bos=2, eos=3)


def build(shape: dict[str, Any]) -> nn.Module:
    """Returns a post-norm model with tied target and output embeddings; weights without dropout, as in other peers."""
    specials = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": None}
    numbers = {f"{name}_id": number for name, number in SPECIAL._asdict().items()}
    special = SimpleNamespace(**specials, **numbers, unk_id=0, lang_tags=[])
    vocabulary = Vocabulary([str(number) for number in range(shape["vocabulary"] - 4)], special)
    side = {
        "type": "transformer",
        "num_layers": shape["layers"],
        "num_heads": shape["heads"],
        "hidden_size": shape["width"],
        "ff_size": shape["slots"],
        "dropout": shape["dropout"],
        "layer_norm": "post",
        "activation": "relu",
        "embeddings": {"embedding_dim": shape["width"], "scale": True},
    }
    config = {"encoder": dict(side), "decoder": dict(side), "tied_softmax": True}
    model = build_model(config, vocabulary, vocabulary)
    model.loss_function = ("crossentropy", 0.1)
    for module in model.modules():
        if isinstance(module, MultiHeadedAttention):
            module.dropout = nn.Identity()
        elif isinstance(module, PositionwiseFeedForward):
            module.pwff_layer[2] = nn.Identity()
    return model


def prepare(batch: Batch) -> JoeyBatch:
    """Converts a batch to JoeyNMT's."""
    tgt = torch.cat([batch.tgt_in[:, :1], batch.tgt_out], 1)
    lengths, order = batch.src_mask.sum(1), torch.arange(len(batch.src))
    joey = JoeyBatch(
        batch.src, lengths, None, tgt, None, order, batch.src.device, pad_index=SPECIAL.pad, eos_index=SPECIAL.eos
    )
    joey.sort_by_src_length()
    return joey


def loss(module: nn.Module, batch: JoeyBatch) -> Tensor:
    """Returns the mean loss over the target tokens."""
    total, _, _, _ = module(return_type="loss", **vars(batch))
    return batch.normalize(total, normalization="tokens")


def optimizer(module: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimizer that JoeyNMT's configuration builds."""
    config = {"optimizer": "adamw", "learning_rate": 1e-4, "adam_betas": [0.9, 0.98], "weight_decay": 1e-4}
    return build_optimizer(config, module.parameters())


Trainee(build, loss, optimizer, prepare, SPECIAL)
