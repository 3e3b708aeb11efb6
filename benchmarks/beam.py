"""Beam search against other software: output tokens a second, the same sources, the same length of output.

    python -m benchmarks.beam                          # both sizes of the issue: 6+6 layers of 512/1024, 2+2 of 128/256
    python -m benchmarks.beam --sizes small --rounds 9

Peers: CTranslate2 in float32 with the very weights of our Transformer, whose translations are compared with ours too,
and MarianMT's `generate` with random weights of the same dimensions. Every output has 24 tokens and its end, so every
system takes 25 steps: to ours EOS is hidden until then and certain after it; the peers cannot be told so and get one
more token instead, which is not counted. What CTranslate2 does with one step fewer is a row of its own. Each of the
three gets the best of its settings, found before the measurement: tokens of a batch, and for CTranslate2 how many
threads translate by themselves.

That is on a CPU. Where there is a CUDA device it is measured instead, in float16, with 16 times as many sentences: ours
with CUDA graphs against ours without, and against CTranslate2. That CTranslate2 translates as we do is looked at in
float32, before the measurement.
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
from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import EOS
from reluformer.model.caches import DynamicCache, StaticCache
from reluformer.model.embedding import sinusoids
from reluformer.model.files import save_model
from reluformer.model.transformer import Transformer
from reluformer.ops.linear import pack
from reluformer.translation.decode import translate

BEAM, LENGTH, VOCABULARY, HEADS = 5, 24, 10_000, 4
BATCHES = (300, 600, 1200, 2400)
WHY = (
    "at IWSLT size 80 % of the time is oneDNN's products with packed weights, 7.5 % torch's attention to the source of "
    "5 queries at a time, the rest small operators, their memory and their dispatch (torch's profiler, "
    "24 sentences, one thread)"
)
CUDA_BATCHES = (4096, 16384, 65536)
CUDA_SENTENCES = 16
"""How many times as many sentences a CUDA device gets."""
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
    "IWSLT": Size(6, 512, 1024, 160, 1.0, 1.67),
    "small": Size(2, 128, 256, 400, 0.7, 1.67),
}


class Fixed(Transformer):
    """A Transformer whose every output has LENGTH tokens."""

    def step(self, tokens: Tensor, cache: DynamicCache | StaticCache) -> Tensor:
        logits = super().step(tokens, cache)
        logits[:, EOS] = (cache.position > LENGTH) * 2e4 - 1e4  # a tensor's position in a step that is a graph
        return logits


class Eager(Fixed):
    """The same, never searched by graphs."""

    static = False


def best(measure: Callable[..., float], settings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The setting that gave most, each tried once after one that warms up."""
    tried = list(settings)
    measure(**tried[0])
    return max(tried, key=lambda setting: measure(**setting))


def config_of(size: Size, system: str) -> ModelConfig:
    """A system of that size."""
    systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
    shape = {"encoder_layers": size.layers, "decoder_layers": size.layers, "width": size.width, "slots": size.slots}
    shape |= {"vocabulary": VOCABULARY, "heads": HEADS}
    return ModelConfig(**shape, **SystemConfig(**systems[system]).memories())


def random_sources(sentences: int) -> list[np.ndarray]:
    """Sources as long as IWSLT's test sentences."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.0, 0.55, sentences), 4, 80).astype(int)
    return [random.integers(FIRST, VOCABULARY, length) for length in lengths]


def timed(
    model: Fixed, sources: list[np.ndarray], batch_tokens: int, device: str = "cpu"
) -> tuple[float, list[list[int]]]:
    """Output tokens a second of our search, and what it found."""
    config = TranslationConfig(beam=BEAM, max_ratio=1e-6, max_extra=LENGTH, batch_tokens=batch_tokens)
    begin = time.perf_counter()
    hypotheses = translate(model, sources, config, device)
    seconds = time.perf_counter() - begin
    return LENGTH * len(sources) / seconds, [hypothesis.tokens.tolist() for hypothesis in hypotheses]


def compare(name: str, rounds: int) -> list[Row]:
    """The rows of one size on a CPU."""
    size, cores = SIZES[name], threads()
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    plain, relu = (Fixed(config_of(size, system)).eval() for system in ("transformer", "reluformer"))
    sources = random_sources(size.sentences)
    lists = [source.tolist() for source in sources]
    outputs: dict[str, list[list[int]]] = {}

    def ours(of: Fixed, batch_tokens: int) -> float:
        speed, outputs["ours"] = timed(of, sources, batch_tokens)
        return speed

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

        def theirs(peer: Peer, batch_tokens: int, steps: int = LENGTH + 1) -> float:
            seconds, ids = peer.call("translate", sources=lists, length=steps, beam=BEAM, batch_tokens=batch_tokens)
            if steps == LENGTH:
                outputs[peer.name] = ids
            return LENGTH * len(sources) / seconds

        built = 0

        def with_ctranslate(batch_tokens: int, at_once: int, steps: int = LENGTH + 1) -> float:
            nonlocal built
            if built != at_once:
                ctranslate.call("build", **whole, at_once=at_once)
                built = at_once
            return theirs(ctranslate, batch_tokens, steps)

        own = best(lambda batch_tokens: ours(plain, batch_tokens), [{"batch_tokens": n} for n in BATCHES[:-1]])
        splits = sorted({1, cores})
        other = best(with_ctranslate, [{"batch_tokens": n, "at_once": k} for k in splits for n in BATCHES])
        third = best(lambda batch_tokens: theirs(marian, batch_tokens), [{"batch_tokens": n} for n in BATCHES[1:]])
        print(f"{name}: best settings: ours {own}, CTranslate2 {other}, MarianMT {third}", flush=True)
        medians = interleaved(
            {
                "ours": lambda: ours(plain, **own),
                "ctranslate": lambda: with_ctranslate(**other),
                "fewer": lambda: with_ctranslate(**other, steps=LENGTH),
                "marian": lambda: theirs(marian, **third),
                "reluformer": lambda: ours(relu, **own),
            },
            rounds,
        )
        theirs(marian, **third, steps=LENGTH)
        ours(plain, **own)
    check(outputs)
    speed, spread = medians["ours"]
    title = f"beam search, {name} size"
    rows = [
        Row(
            title,
            speed,
            "CTranslate2 float32",
            medians["ctranslate"][0],
            "tokens/s",
            size.ctranslate,
            spread=spread,
            why=WHY,
        ),
        Row(title, speed, "CTranslate2, a step fewer", medians["fewer"][0], "tokens/s", spread=spread),
        Row(title, speed, "MarianMT generate", medians["marian"][0], "tokens/s", size.marian, spread=spread, why=WHY),
        Row(f"{title}, reluformer", medians["reluformer"][0], "our transformer", speed, "tokens/s", spread=spread),
    ]
    return rows


def compare_on_cuda(name: str, rounds: int) -> list[Row]:
    """The rows of one size on a CUDA device."""
    size, cores = SIZES[name], threads()
    torch.manual_seed(0)
    plain, relu = (Fixed(config_of(size, system)).eval() for system in ("transformer", "reluformer"))
    sources = random_sources(size.sentences * CUDA_SENTENCES)
    lists = [source.tolist() for source in sources]
    eager = Eager(plain.config).eval()
    eager.load_state_dict(plain.state_dict())
    with tempfile.TemporaryDirectory() as folder, Peer("ctranslate", cores) as peer:
        weights = Path(folder) / "model.safetensors"
        save_model(plain, weights)
        whole = {"weights": str(weights), "layers": size.layers, "heads": HEADS, "threads": cores, "at_once": 1}
        whole |= {"positions": sinusoids(256, size.width).tolist(), "device": "cuda"}

        def theirs(batch_tokens: int, steps: int = LENGTH + 1) -> tuple[float, list[list[int]]]:
            some = lists if steps > LENGTH else lists[: size.sentences]
            seconds, ids = peer.call("translate", sources=some, length=steps, beam=BEAM, batch_tokens=batch_tokens)
            return LENGTH * len(some) / seconds, ids

        def ours(model: Fixed, batch_tokens: int) -> float:
            return timed(model, sources, batch_tokens, "cuda")[0]

        peer.call("build", **whole, compute_type="float32")
        few = size.sentences
        exact = timed(plain.to("cuda"), sources[:few], CUDA_BATCHES[0], "cuda")[1]
        check({"ours": exact, "ctranslate": theirs(CUDA_BATCHES[0], LENGTH)[1]})
        peer.call("build", **whole, compute_type="float16")
        for model in (plain, relu, eager):
            model.to("cuda", torch.float16)
        batches = [{"batch_tokens": n} for n in CUDA_BATCHES]
        own = best(lambda batch_tokens: ours(plain, batch_tokens), batches)
        without = best(lambda batch_tokens: ours(eager, batch_tokens), batches)
        other = best(lambda batch_tokens: theirs(batch_tokens)[0], batches)
        print(f"{name}: best settings: ours {own}, without graphs {without}, CTranslate2 {other}", flush=True)
        medians = interleaved(
            {
                "ours": lambda: ours(plain, **own),
                "without": lambda: ours(eager, **without),
                "ctranslate": lambda: theirs(**other)[0],
                "reluformer": lambda: ours(relu, **own),
            },
            rounds,
        )
    (speed, spread), title = medians["ours"], f"beam search on CUDA, {name} size, float16"
    relu_speed, relu_spread = medians["reluformer"]
    peers = {"without": ("without CUDA graphs", None), "ctranslate": ("CTranslate2 float16", 1.0)}
    rows = [
        Row(title, speed, peer_name, medians[key][0], "tokens/s", target, spread=spread)
        for key, (peer_name, target) in peers.items()
    ]
    return [*rows, Row(f"{title}, reluformer", relu_speed, "our transformer", speed, "tokens/s", spread=relu_spread)]


def check(outputs: dict[str, list[list[int]]]) -> None:
    """Fails where the outputs have other lengths, or CTranslate2's are other translations than ours."""
    for name, translations in outputs.items():
        if any(len(ids) != LENGTH for ids in translations):
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
    print(table([row.record() for row in measured(parser().parse_args())]))


def rows() -> list[Row]:
    """Both sizes."""
    return measured(parser().parse_args([]))


def measured(options: argparse.Namespace) -> list[Row]:
    """The rows of the sizes, on CUDA where there is a device."""
    one = compare_on_cuda if torch.cuda.is_available() else compare
    return [row for size in options.sizes for row in one(size, options.rounds)]


if __name__ == "__main__":
    main()
