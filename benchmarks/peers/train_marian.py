"""Hugging Face's MarianMT with random weights: trains it, and translates with its `generate`."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from trainee import OURS, Batch, Trainee, smoothed
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
        forced_eos_token_id=None,
        decoder_start_token_id=shape["bos"],
        attn_implementation="sdpa",
    )
    return MarianMTModel(config)


def loss(module: nn.Module, batch: Batch) -> Tensor:
    """Returns the loss of Hugging Face's trainer with label smoothing, by torch's faster cross-entropy."""
    inputs = {"input_ids": batch.src, "attention_mask": batch.src_mask, "decoder_input_ids": batch.tgt_in}
    return smoothed(module(**inputs, use_cache=False).logits, batch)


def translate(
    module: nn.Module, sources: list[list[int]], length: int, beam: int, batch_tokens: int
) -> tuple[float, list[list[int]]]:
    """Returns the seconds, and translations of exactly `length` tokens; sources are sorted and batched like ours."""
    module.eval()
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    outputs: list[list[int]] = [[] for _ in sources]
    begin = time.perf_counter()
    while order:
        batch = order[: max(1, batch_tokens // (len(sources[order[0]]) + 1))]
        order = order[len(batch) :]
        rows = [torch.tensor([*sources[i], OURS.eos]) for i in batch]
        src = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=OURS.pad)
        with torch.inference_mode():
            out = module.generate(
                input_ids=src,
                attention_mask=(src != OURS.pad).long(),
                num_beams=beam,
                min_new_tokens=length,
                max_new_tokens=length,
                do_sample=False,
            )
        for i, ids in zip(batch, out.tolist(), strict=True):
            outputs[i] = ids[1:]
    return time.perf_counter() - begin, outputs


Trainee(build, loss, translate=translate)
