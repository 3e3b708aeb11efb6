"""A stated model of cost, for a card that is not at hand: arithmetic at a stated utilisation, plus kernel launches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reluformer.cli.planning.scoring import STATED
from reluformer.cli.planning.sizes import Sizes, Split, token_length
from reluformer.config.model import ModelConfig
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError, nearest
from reluformer.model.flops import TRAINING, decoding_flops, forward_flops


class Card(NamedTuple):
    """A GPU: peak of dense matrix products in TFLOP/s by precision, as its maker states them."""

    title: str
    fp32: float
    bf16: float
    fp16: float


CARDS = {
    "h100": Card("NVIDIA H100 SXM", 66.9, 989.4, 989.4),
    "a100": Card("NVIDIA A100 SXM", 19.5, 312.0, 312.0),
    "v100": Card("NVIDIA V100 SXM", 15.7, 15.7, 125.0),
}
UTILISATION = 0.4
"""Share of the peak that matrix products reach, where nothing else holds them up."""
LAUNCH = 5e-6
"""Seconds to launch one kernel."""
TRAINING_KERNELS, DECODING_KERNELS = 60, 20
"""Kernels that one memory takes in an update (forward, backward, optimizer), and in one step of the search."""
START = {
    **{"train": 30.0, "translate": 20.0, "analyse": 20.0, "score": 5.0, "study": 5.0, "claims": 5.0, "report": 30.0},
    "point": 5.0,
}
"""Seconds until a job of each step, or a point of the measured study, does its work: Python, torch, the device."""
PREPARED_PAIRS = 5000
"""Pairs a second of a corpus's preparation, on a few cores."""


class Rates(NamedTuple):
    """What one kind of run costs: seconds an update, seconds of decoding a token that is put out."""

    update: float
    decode: float
    note: str = ""


def card(name: str) -> Card:
    """The card of this name. Raises `SettingsError`."""
    if name not in CARDS:
        raise SettingsError(f"--card: {name!r}: unknown card{nearest(name, CARDS)}")
    return CARDS[name]


def update_flops(config: RunConfig, sizes: Sizes) -> float:
    """FLOPs of one update: the batch's target tokens, and as many source tokens as come with them."""
    train = sizes.train
    tgt = float(max(config.training.batch_tokens, train.tgt.mean()))
    src = tgt * float(train.src.mean() / train.tgt.mean())
    return TRAINING * forward_flops(config.model, src, tgt, token_length(train.src), token_length(train.tgt))


def decode_flops(config: RunConfig, split: Split) -> float:
    """FLOPs of translating a whole split into as many tokens as its references have."""
    src, out = split.tokens("src"), split.tokens("tgt")
    lengths = token_length(split.src), token_length(split.tgt)
    return decoding_flops(config.model, src, out, *lengths, config.translation.beam)


def modelled(config: RunConfig, sizes: Sizes, chosen: Card, utilisation: float) -> Rates:
    """The rates of a run on a card, by the stated model."""
    training = config.training
    speed = getattr(chosen, training.precision) * 1e12 * utilisation
    devices = training.processes * training.nodes
    memories = len(config.model.places())
    launches = memories * TRAINING_KERNELS * LAUNCH * training.accumulation
    update = update_flops(config, sizes) / (speed * devices) + launches
    steps = _search_steps(config, sizes.test)
    searching = steps * _decoder_memories(config.model) * DECODING_KERNELS * LAUNCH
    decode = decode_flops(config, sizes.test) / (chosen.fp32 * 1e12 * utilisation) + searching
    return Rates(update, decode / sizes.test.tokens("tgt"))


def _decoder_memories(model: ModelConfig) -> int:
    return sum(place.startswith("decoder") for place in model.places())


def _search_steps(config: RunConfig, split: Split) -> float:
    """Steps of the search over a split: each batch goes on as long as its longest sequence."""
    order = np.argsort(-split.src, kind="stable")
    steps, first = 0.0, 0
    while first < len(order):
        size = max(1, config.translation.batch_tokens // int(split.src[order[first]]))
        steps += float(split.tgt[order[first : first + size]].max())
        first += size
    return steps * split.pairs / len(order)


def assumptions(chosen: Card, utilisation: float) -> list[str]:
    """What the model assumes, in sentences."""
    return [
        f"{chosen.title}: peak {chosen.fp32} TFLOP/s in fp32, {chosen.bf16} in bf16, {chosen.fp16} in fp16 (dense, by "
        f"its maker); matrix products reach {utilisation:.0%} of it (assumed, --utilisation).",
        f"A kernel takes {LAUNCH * 1e6:.0f} µs to launch; a memory takes {TRAINING_KERNELS} of them an update and "
        f"{DECODING_KERNELS} a step of the search (assumed).",
        f"A sentence is scored in {STATED.line * 1e3:.0f} ms, one sample of a paired test takes "
        f"{STATED.sample * 1e6:.1f} µs a segment; "
        f"a point of the measured study starts in {START['point']:.0f} s (assumed).",
        f"Jobs start in {START['train']:.0f} s (train) to {START['score']:.0f} s (score); {PREPARED_PAIRS:,} pairs a "
        "second are prepared (assumed).",
        "Matrix products alone are counted: not the activations (sparsemax and 1.5-entmax cost more than here), nor "
        "exchange between processes, nor waiting for the disk. --measure counts what is really there.",
    ]
