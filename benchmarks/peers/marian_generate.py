"""transformers' MarianMT with random weights of the same dimensions: `build`, then `translate` by `generate`."""

from __future__ import annotations

import time

import torch
from protocol import serve
from transformers import MarianConfig, MarianMTModel

PAD, BOS, EOS = 0, 2, 3
state = {}


def build(vocabulary: int, width: int, slots: int, layers: int, heads: int) -> None:
    """Makes the model, in evaluation mode."""
    torch.manual_seed(0)
    state["model"] = MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=slots,
            decoder_ffn_dim=slots,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=256,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            forced_eos_token_id=None,
        )
    ).eval()


def translate(sources: list[list[int]], length: int, beam: int, batch_tokens: int) -> tuple[float, list[list[int]]]:
    """Returns the seconds, and translations of exactly `length` tokens; sources are sorted and batched as ours."""
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    outputs: list[list[int]] = [[] for _ in sources]
    begin = time.perf_counter()
    while order:
        batch = order[: max(1, batch_tokens // (len(sources[order[0]]) + 1))]
        order = order[len(batch) :]
        longest = len(sources[batch[0]]) + 1
        rows = [[*sources[i], EOS] + [PAD] * (longest - len(sources[i]) - 1) for i in batch]
        src = torch.tensor(rows)
        with torch.inference_mode():
            out = state["model"].generate(
                input_ids=src,
                attention_mask=(src != PAD).long(),
                num_beams=beam,
                min_new_tokens=length,
                max_new_tokens=length,
                do_sample=False,
            )
        for i, ids in zip(batch, out.tolist(), strict=True):
            outputs[i] = ids[1:]
    return time.perf_counter() - begin, outputs


serve({"build": build, "translate": translate})
