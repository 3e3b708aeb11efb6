"""Beam search against other software on a CPU: output tokens a second, the same sources, the same length of output.

    python -m benchmarks.beam                          # both sizes of the issue: 6+6 layers of 512/1024, 2+2 of 128/256
    python -m benchmarks.beam --sizes small --rounds 9

Peers: CTranslate2 in float32 with the very weights of our Transformer, whose translations are compared with ours too,
and MarianMT's `generate` with random weights of the same dimensions. Every output has 24 tokens: EOS is hidden until
then and certain after it (ours takes a step for it, the peers do not). Each of the three gets the best of its settings,
found before the measurement: tokens of a batch, and for CTranslate2 how many threads translate by themselves.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.peer import Peer
from benchmarks.rows import ROOT, Row, interleaved, table, threads
from reluformer.corpus.subword import EOS
from reluformer.experiment import SystemConfig
from reluformer.memory.packed import pack
from reluformer.model.config import ModelConfig
from reluformer.model.embedding import sinusoids
from reluformer.model.files import save_model
from reluformer.model.state import State
from reluformer.model.transformer import Transformer
from reluformer.translation.config import TranslationConfig
from reluformer.translation.decode import translate

BEAM, LENGTH, VOCABULARY, HEADS = 5, 24, 10_000, 4
BATCHES = (300, 600, 1200, 2400)
WHY = (
    "at IWSLT size 80 % of the time is oneDNN's products with packed weights, 7.5 % torch's attention to the source of "
    "5 queries at a time, the rest small operators, their memory and their dispatch (torch's profiler, "
    "24 sentences, one thread)"
)
FIRST = 5  # the first id that is a word


class Size(NamedTuple):
    """A model's dimensions, how many sentences are translated, and the ratios wanted."""

    layers: int
    width: int
    slots: int
    sentences: int
    ctranslate: float
    marian: float


SIZES = {
    "IWSLT": Size(6, 512, 1024, 64, 1.0, 1.67),
    "small": Size(2, 128, 256, 400, 0.7, 1.67),
}


class Fixed(Transformer):
    """A Transformer whose every output has LENGTH tokens."""

    def step(self, tokens: Tensor, state: State) -> Tensor:
        logits = super().step(tokens, state)
        logits[:, EOS] = 1e4 if state.position > LENGTH else -1e9
        return logits


def best(measure: Callable[..., float], settings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The setting that gave most, each tried once after one that warms up."""
    tried = list(settings)
    measure(**tried[0])
    return max(tried, key=lambda setting: measure(**setting))


def compare(name: str, rounds: int) -> list[Row]:
    """The rows of one size."""
    size, cores = SIZES[name], threads()
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
    shape = {"encoder_layers": size.layers, "decoder_layers": size.layers, "width": size.width, "slots": size.slots}
    shape |= {"vocabulary": VOCABULARY, "heads": HEADS}

    def model(system: str) -> Fixed:
        return Fixed(ModelConfig(**shape, **SystemConfig(**systems[system]).memories())).eval()

    plain, relu = model("transformer"), model("reluformer")
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.0, 0.55, size.sentences), 4, 80).astype(int)  # of IWSLT's test sentences
    sources = [random.integers(FIRST, VOCABULARY, length) for length in lengths]
    lists = [source.tolist() for source in sources]
    outputs: dict[str, list[list[int]]] = {}

    def ours(of: Fixed, batch_tokens: int) -> float:
        config = TranslationConfig(beam=BEAM, max_ratio=1e-6, max_extra=LENGTH, batch_tokens=batch_tokens)
        begin = time.perf_counter()
        found = translate(of, sources, config)
        seconds = time.perf_counter() - begin
        outputs["ours"] = [hypothesis.tokens.tolist() for hypothesis in found]
        return LENGTH * len(sources) / seconds

    with (
        tempfile.TemporaryDirectory() as folder,
        Peer("ctranslate", cores) as ctranslate,
        Peer("marian_generate", cores) as marian,
    ):
        weights = Path(folder) / "model.safetensors"
        save_model(plain, weights)
        pack(plain)
        pack(relu)
        whole = {"weights": str(weights), "layers": size.layers, "heads": HEADS, "threads": cores}
        whole["positions"] = sinusoids(256, size.width).tolist()
        marian.call(
            "build", vocabulary=VOCABULARY, **{k: getattr(size, k) for k in ("width", "slots", "layers")}, heads=HEADS
        )

        def theirs(peer: Peer, batch_tokens: int) -> float:
            seconds, found = peer.call("translate", sources=lists, length=LENGTH, beam=BEAM, batch_tokens=batch_tokens)
            outputs[peer.name] = found
            return LENGTH * len(sources) / seconds

        built = 0

        def with_ctranslate(batch_tokens: int, at_once: int) -> float:
            nonlocal built
            if built != at_once:
                ctranslate.call("build", **whole, at_once=at_once)
                built = at_once
            return theirs(ctranslate, batch_tokens)

        own = best(lambda batch_tokens: ours(plain, batch_tokens), [{"batch_tokens": n} for n in BATCHES[:-1]])
        splits = sorted({1, cores})
        other = best(with_ctranslate, [{"batch_tokens": n, "at_once": k} for k in splits for n in BATCHES])
        third = best(lambda batch_tokens: theirs(marian, batch_tokens), [{"batch_tokens": n} for n in BATCHES[1:]])
        print(f"{name}: best settings: ours {own}, CTranslate2 {other}, MarianMT {third}", flush=True)
        found = interleaved(
            {
                "ours": lambda: ours(plain, **own),
                "ctranslate": lambda: with_ctranslate(**other),
                "marian": lambda: theirs(marian, **third),
                "reluformer": lambda: ours(relu, **own),
            },
            rounds,
        )
        ours(plain, **own)
    check(outputs)
    speed, spread = found["ours"]
    title = f"beam search, {name} size"
    rows = [
        Row(
            title,
            speed,
            "CTranslate2 float32",
            found["ctranslate"][0],
            "tokens/s",
            size.ctranslate,
            spread=spread,
            why=WHY,
        ),
        Row(title, speed, "MarianMT generate", found["marian"][0], "tokens/s", size.marian, spread=spread, why=WHY),
        Row(f"{title}, reluformer", found["reluformer"][0], "our transformer", speed, "tokens/s", spread=spread),
    ]
    return rows


def check(outputs: dict[str, list[list[int]]]) -> None:
    """Fails where the outputs have other lengths, or CTranslate2's are other translations than ours."""
    for name, found in outputs.items():
        if any(len(ids) != LENGTH for ids in found):
            raise SystemExit(f"{name}: outputs of other lengths than {LENGTH}")
    same = sum(a == b for a, b in zip(outputs["ours"], outputs["ctranslate"], strict=True))
    print(f"CTranslate2 found {same} of our {len(outputs['ours'])} translations", flush=True)
    if same < 0.9 * len(outputs["ours"]):
        raise SystemExit("CTranslate2 does not translate as we do")


def parser() -> argparse.ArgumentParser:
    """The options and their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def main() -> None:
    """Runs the benchmark."""
    options = parser().parse_args()
    rows = [row for size in options.sizes for row in compare(size, options.rounds)]
    print(table([row.record() for row in rows]))


def rows() -> list[Row]:
    """Both sizes."""
    options = parser().parse_args([])
    return [row for size in options.sizes for row in compare(size, options.rounds)]


if __name__ == "__main__":
    main()
