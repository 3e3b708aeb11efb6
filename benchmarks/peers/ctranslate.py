"""CTranslate2 with the weights of our model: `build`, then `translate`."""

from __future__ import annotations

import tempfile
import time

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from protocol import serve
from safetensors.numpy import load_file

SPECIAL = ("<blank>", "<unk>", "<s>", "</s>")
state = {}


def build(
    weights: str,
    layers: int,
    heads: int,
    positions: list[list[float]],
    threads: int,
    at_once: int,
    device: str = "cpu",
    compute_type: str = "float32",
) -> None:
    """Converts a model: post-norm, softmax attention, ReLU FFN.

    positions: [longest, width]. at_once: batches translated at the same time, each by an equal share of the threads.
    """
    state.clear()
    tensors = load_file(weights)
    spec = transformer_spec.TransformerSpec.from_config(
        layers, heads, pre_norm=False, activation=common_spec.Activation.RELU
    )
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = True
        side.position_encodings.encodings = np.array(positions, dtype=np.float32)
    spec.encoder.embeddings[0].weight = tensors["embeddings.source"]
    spec.decoder.embeddings.weight = tensors["embeddings.target"]
    spec.decoder.projection.weight = tensors["embeddings.target"]
    for name, side in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        for i, layer in enumerate(side.layer):
            attention = f"{name}.{i}.attention"
            linears(layer.self_attention, tensors, attention, ["query_key_value", "output"])
            if name == "decoder":
                linears(layer.attention, tensors, f"{name}.{i}.cross_attention", ["query", "key_value", "output"])
            layer.ffn.linear_0.weight = tensors[f"{name}.{i}.ffn.memory.key"]
            layer.ffn.linear_1.weight = np.ascontiguousarray(tensors[f"{name}.{i}.ffn.memory.value"].T)
            norm(layer.ffn.layer_norm, tensors, f"{name}.{i}.ffn")
    words = [*SPECIAL, *(str(i) for i in range(len(SPECIAL), len(tensors["embeddings.target"])))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.validate()
    spec.optimize()
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        state["translator"] = ctranslate2.Translator(
            folder,
            device=device,
            compute_type=compute_type,
            inter_threads=at_once,
            intra_threads=threads // at_once,
        )


def linears(spec, tensors, place, names) -> None:
    """Fills an attention's projections and norm."""
    for linear, name in zip(spec.linear, names, strict=True):
        linear.weight = tensors[f"{place}.memory.{name}.weight"]
        linear.bias = tensors[f"{place}.memory.{name}.bias"]
    norm(spec.layer_norm, tensors, place)


def norm(spec, tensors, place) -> None:
    """Fills a LayerNorm."""
    spec.gamma, spec.beta = tensors[f"{place}.norm.weight"], tensors[f"{place}.norm.bias"]


def translate(sources: list[list[int]], length: int, beam: int, batch_tokens: int) -> tuple[float, list[list[int]]]:
    """Returns the seconds, and translations of exactly `length` tokens; CTranslate2 sorts and batches them."""
    words = [[SPECIAL[i] if i < len(SPECIAL) else str(i) for i in source] + ["</s>"] for source in sources]
    begin = time.perf_counter()
    results = state["translator"].translate_batch(
        words,
        beam_size=beam,
        max_batch_size=batch_tokens,
        batch_type="tokens",
        min_decoding_length=length,
        max_decoding_length=length,
        max_input_length=0,
    )
    seconds = time.perf_counter() - begin
    ids = {word: i for i, word in enumerate(SPECIAL)}
    return seconds, [[ids.get(word) or int(word) for word in result.hypotheses[0]] for result in results]


serve({"build": build, "translate": translate})
