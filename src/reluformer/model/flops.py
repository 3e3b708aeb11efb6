"""Counts parameters and FLOPs of a model from its configuration. Does not import torch.

Only matrix products count, a multiplication and an addition as two FLOPs. Attention is counted by length: a query
against n keys of width E costs 4·n·E (scores, then the weighted sum). The causally masked half is counted, too.
"""

from __future__ import annotations

from reluformer.config.model import ModelConfig, kind_of

TRAINING = 3
"""The cost of an update in forward passes: a backward pass costs two."""


def parameters(model: ModelConfig) -> int:
    """Returns the number of trainable parameters of a model whose vocabulary is known."""
    matrices = {"none": 3, "decoder": 2, "all": 1}[model.share_embeddings]
    total = matrices * model.vocabulary * model.width
    total += 4 * model.width if model.norm == "pre" else 0  # the norms after the last layers
    return total + sum(_memory_parameters(model, place) for place in model.places())


def _memory_parameters(model: ModelConfig, place: str) -> int:
    """Returns the number of parameters of one memory and the norm of its residual connection."""
    width, memory = model.width, model.memory(place)
    heads = 1 if kind_of(place) == "ffn" else model.heads
    total = 2 * width + {"nothing": 0, "rmsnorm": width}.get(memory.output_norm, 2 * width)
    if memory.options.get("gamma") == "learned" or memory.activation in ("softmax-scalable", "entmax"):
        total += heads
    if memory.output_gate:
        total += (width + 1) * heads
    if memory.query_key_norm and kind_of(place) != "ffn":
        total += 2 * (width // heads)
    if kind_of(place) == "ffn":
        return total + 2 * width * model.slots + (model.slots + width if model.ffn_bias else 0)
    return total + 4 * width * width + (4 * width if model.attention_bias else 0)


def forward_flops(model: ModelConfig, src: float, tgt: float, src_length: float, tgt_length: float) -> float:
    """Returns the FLOPs of one forward pass over `src` and `tgt` tokens.

    Args:
        model: with its vocabulary.
        src, tgt: tokens of each side.
        src_length, tgt_length: the mean over tokens of the length of their sequence, for each side.
    """
    width, slots = model.width, model.slots
    projections, memory = 2 * width * width, 4 * width * slots
    encoder = src * (4 * projections + memory + 4 * src_length * width)
    own = tgt * (4 * projections + memory + 4 * tgt_length * width)
    cross = tgt * (2 * projections + 4 * src_length * width) + src * 2 * projections
    output = tgt * 2 * width * model.vocabulary
    return model.encoder_layers * encoder + model.decoder_layers * (own + cross) + output


def decoding_flops(
    model: ModelConfig, src: float, out: float, src_length: float, out_length: float, beam: int
) -> float:
    """Returns the FLOPs of a cached beam search: the encoder once, the decoder for every token of every hypothesis."""
    encoded = forward_flops(model, src, 0, src_length, 0)
    return encoded + beam * forward_flops(model, 0, out, src_length, out_length / 2)
