"""Trains Hugging Face's MarianMT."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from trainee import Batch, Trainee, smoothed
from transformers import MarianConfig, MarianMTModel


def build(shape: dict[str, Any]) -> nn.Module:
    """Returns a post-norm model with sinusoids, ReLU, tied target and output embeddings, and torch's SDPA."""
    sides = {}
    for side in ("encoder", "decoder"):
        sides[f"{side}_layers"] = shape["layers"]
        sides[f"{side}_ffn_dim"] = shape["slots"]
        sides[f"{side}_attention_heads"] = shape["heads"]
    config = MarianConfig(
        **sides,
        vocab_size=shape["vocabulary"],
        decoder_vocab_size=shape["vocabulary"],
        d_model=shape["width"],
        max_position_embeddings=2048,
        dropout=shape["dropout"],
        activation_function="relu",
        scale_embedding=True,
        share_encoder_decoder_embeddings=False,
        pad_token_id=shape["pad"],
        eos_token_id=shape["eos"],
        forced_eos_token_id=shape["eos"],
        decoder_start_token_id=shape["bos"],
        use_cache=False,
        attn_implementation="sdpa",
    )
    return MarianMTModel(config)


def loss(module: nn.Module, batch: Batch) -> Tensor:
    """Returns the loss of Hugging Face's trainer with label smoothing, by torch's faster cross-entropy."""
    logits = module(input_ids=batch.src, attention_mask=batch.src_mask, decoder_input_ids=batch.tgt_in).logits
    return smoothed(logits, batch)


Trainee(build, loss)
