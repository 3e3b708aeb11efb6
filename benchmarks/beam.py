"""Beam search against other software: output tokens per second, with the same sources and output length.

    python -m benchmarks.beam                          # 6+6 layers of 512/1024, and 2+2 of 128/256
    python -m benchmarks.beam --sizes small --rounds 9

Peers: CTranslate2 with the weights of our Transformer, and on a CPU MarianMT's `generate` with random weights of the
same dimensions; on CUDA ours without CUDA graphs. CTranslate2 must give our translations in float32, or the benchmark
fails. Every output has 24 tokens and EOS, so every system takes 25 steps: ours cannot choose EOS before step 25 and
must choose it then; the peers generate one more token instead, which is not counted. (CTranslate2 has a second row,
with one step fewer.) Each uses the best of several batch sizes, CTranslate2 on a CPU also the best number of batches to
translate at once.

In float32 on a CPU, then both in int8; in float16 on a GPU, with 16 times as many sentences.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.peer import Peer
from benchmarks.rows import ROOT, Row, interleaved, run, threads
from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import EOS
from reluformer.model.caches import DynamicCache, StaticCache
from reluformer.model.embedding import sinusoids
from reluformer.model.files import save_model
from reluformer.model.transformer import Transformer
from reluformer.ops.int8 import Int8
from reluformer.ops.linear import pack
from reluformer.translation.decode import translate

BEAM, LENGTH, VOCABULARY, HEADS = 5, 24, 10_000, 4
FIRST = 5  # the first id that is a word
CPU_BATCHES, CUDA_BATCHES = (300, 600, 1200, 2400), (4096, 16384, 65536)
CUDA_SENTENCES = 16
"""A GPU translates this many times as many sentences as a CPU."""
WHY = (
    "at IWSLT size 80 % of the time is oneDNN's products with packed weights, 7.5 % torch's cross-attention for "
    "5 queries at a time, the rest small operators, their memory and their dispatch (torch's profiler, "
    "24 sentences, one thread)"
)
Setting = dict[str, int]


class Size(NamedTuple):
    """A model's dimensions, the number of sentences to translate, and the target ratios on a CPU."""

    layers: int
    width: int
    slots: int
    sentences: int
    ctranslate: float
    marian: float = 1.67


SIZES = {"IWSLT": Size(6, 512, 1024, 160, 1.0), "small": Size(2, 128, 256, 400, 0.7)}


class Fixed(Transformer):
    """A Transformer whose outputs all have LENGTH tokens."""

    def step(self, tokens: Tensor, cache: DynamicCache | StaticCache) -> Tensor:
        """Returns logits in which EOS is impossible before LENGTH, and certain then."""
        logits = super().step(tokens, cache)
        logits[:, EOS] = (cache.position > LENGTH) * 2e4 - 1e4  # in a captured step, the position is a tensor
        return logits


class Eager(Fixed):
    """The same, searched without CUDA graphs."""

    static = False


def best(measure: Callable[..., float], settings: Sequence[Setting]) -> Setting:
    """Returns the setting with the highest speed, each tried once after a warm-up."""
    measure(**settings[0])
    return max(settings, key=lambda setting: measure(**setting))


def config_of(size: Size, system: str) -> ModelConfig:
    """Returns the configuration of a system of that size."""
    systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
    shape = {"encoder_layers": size.layers, "decoder_layers": size.layers, "width": size.width, "slots": size.slots}
    shape |= {"vocabulary": VOCABULARY, "heads": HEADS}
    return ModelConfig(**shape, **SystemConfig(**systems[system]).memories())


def random_sources(sentences: int) -> list[np.ndarray]:
    """Returns random sources with the lengths of IWSLT's test sentences."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.0, 0.55, sentences), 4, 80).astype(int)
    return [random.integers(FIRST, VOCABULARY, length) for length in lengths]


def search(model: Fixed, sources: list[np.ndarray], batch_tokens: int, device: str) -> tuple[float, list[list[int]]]:
    """Returns the output tokens per second of our search, and its translations."""
    config = TranslationConfig(beam=BEAM, max_ratio=1e-6, max_extra=LENGTH, batch_tokens=batch_tokens)
    begin = time.perf_counter()
    hypotheses = translate(model, sources, config, device)
    speed = LENGTH * len(sources) / (time.perf_counter() - begin)
    return speed, [hypothesis.tokens.tolist() for hypothesis in hypotheses]


def search_by_peer(
    peer: Peer, sources: list[np.ndarray], batch_tokens: int, length: int = LENGTH + 1
) -> tuple[float, list[list[int]]]:
    """Returns the output tokens per second of a peer, and its translations. Fails if one is of a different length."""
    lists = [source.tolist() for source in sources]
    seconds, ids = peer.call("translate", sources=lists, length=length, beam=BEAM, batch_tokens=batch_tokens)
    if any(len(output) != length for output in ids):
        raise SystemExit(f"{peer.name}: an output has another length than {length}")
    return LENGTH * len(sources) / seconds, ids


def check(ours: list[list[int]], theirs: list[list[int]]) -> None:
    """Fails unless CTranslate2 gives at least 90 % of our translations."""
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    print(f"CTranslate2 gives {same} of our {len(ours)} translations", flush=True)
    if same < 0.9 * len(ours):
        raise SystemExit("CTranslate2 does not translate as we do")


def compare(name: str, rounds: int) -> list[Row]:
    """Returns the rows of one size."""
    size, cores, cuda = SIZES[name], threads(), torch.cuda.is_available()
    device, precision = ("cuda", "float16") if cuda else ("cpu", "float32")
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    plain, relu = (Fixed(config_of(size, system)).eval() for system in ("transformer", "reluformer"))
    eager, quantised = (kind(plain.config).eval() for kind in (Eager, Fixed))
    for copy in (eager, quantised):
        copy.load_state_dict(plain.state_dict())
    sources = random_sources(size.sentences * (CUDA_SENTENCES if cuda else 1))
    batches: list[Setting] = [{"batch_tokens": tokens} for tokens in (CUDA_BATCHES if cuda else CPU_BATCHES)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = stack.enter_context(Peer("ctranslate", cores))
        save_model(plain, folder / "model.safetensors")
        shape: dict[str, Any] = {"layers": size.layers, "heads": HEADS}
        whole = {"weights": str(folder / "model.safetensors"), **shape, "threads": cores, "device": device}
        whole["positions"] = sinusoids(256, size.width).tolist()

        few = sources[: size.sentences]
        peer.call("build", **whole, at_once=1, compute_type="float32")
        exact = search(plain.to(device), few, batches[0]["batch_tokens"], device)[1]
        check(exact, search_by_peer(peer, few, batches[0]["batch_tokens"], LENGTH)[1])
        for model in (plain, relu, eager):
            model.to(device, getattr(torch, precision))
            if not cuda:
                pack(model)

        built: tuple[int, str] | None = None

        def ctranslate(
            batch_tokens: int, at_once: int = 1, length: int = LENGTH + 1, compute_type: str = precision
        ) -> float:
            nonlocal built
            if built != (at_once, compute_type):
                peer.call("build", **whole, at_once=at_once, compute_type=compute_type)
                built = at_once, compute_type
            return search_by_peer(peer, sources, batch_tokens, length)[0]

        measures: dict[str, Callable[..., float]] = {
            "ours": lambda batch_tokens: search(plain, sources, batch_tokens, device)[0],
            "ctranslate": ctranslate,
        }
        settings = {"ours": batches if cuda else batches[:-1], "ctranslate": batches}
        if cuda:
            measures["eager"] = lambda batch_tokens: search(eager, sources, batch_tokens, device)[0]
            settings["eager"] = batches
        else:
            marian = stack.enter_context(Peer("train_marian", cores))
            shape |= {"vocabulary": VOCABULARY, "width": size.width, "slots": size.slots, "dropout": 0.0}
            marian.call("build", shape=shape, device=device, autocast=False)
            measures["marian"] = lambda batch_tokens: search_by_peer(marian, sources, batch_tokens)[0]
            settings["marian"] = batches[1:]
            settings["ctranslate"] = [{**batch, "at_once": n} for n in sorted({1, cores}) for batch in batches]
        chosen = {key: best(measure, settings[key]) for key, measure in measures.items()}
        print(f"{name}: best settings: {chosen}", flush=True)
        measures["relu"] = lambda batch_tokens: search(relu, sources, batch_tokens, device)[0]
        measures["fewer"] = ctranslate
        chosen |= {"relu": chosen["ours"], "fewer": {**chosen["ctranslate"], "length": LENGTH}}
        if not cuda:
            pack(quantised, Int8)
            measures["int8"] = lambda batch_tokens: search(quantised, sources, batch_tokens, device)[0]
            measures["ctranslate int8"] = partial(ctranslate, compute_type="int8")
            chosen |= {"int8": chosen["ours"], "ctranslate int8": chosen["ctranslate"]}
        bound: dict[str, Any] = {key: (lambda key=key: measures[key](**chosen[key])) for key in measures}
        medians = interleaved(bound, rounds)
    (speed, spread), (relu_speed, relu_spread) = medians["ours"], medians["relu"]
    title = f"beam search on CUDA, {name} size, {precision}" if cuda else f"beam search, {name} size"
    peers: dict[str, tuple[str, float | None]] = {
        "ctranslate": (f"CTranslate2 {precision}", 1.0 if cuda else size.ctranslate),
        "fewer": ("CTranslate2, a step fewer", None),
        **({"eager": ("without CUDA graphs", None)} if cuda else {"marian": ("MarianMT generate", size.marian)}),
    }
    rows = [
        Row(title, speed, peer_name, medians[key][0], "tokens/s", target, spread=spread, why="" if cuda else WHY)
        for key, (peer_name, target) in peers.items()
    ]
    rows.append(Row(f"{title}, reluformer", relu_speed, "our transformer", speed, "tokens/s", spread=relu_spread))
    if not cuda:
        int8_speed, int8_spread = medians["int8"]
        for peer_name, peer_speed in (("ours in float32", speed), ("CTranslate2 int8", medians["ctranslate int8"][0])):
            rows.append(Row(f"{title}, int8", int8_speed, peer_name, peer_speed, "tokens/s", spread=int8_spread))
    return rows


def rows(sizes: list[str] = list(SIZES), rounds: int = 5) -> list[Row]:  # noqa: B006
    """Beam search at these sizes, on a GPU if there is one."""
    return [row for size in sizes for row in compare(size, rounds)]


if __name__ == "__main__":
    run(rows)
