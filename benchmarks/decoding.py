"""Speed of the beam search with caches, against the same translations found without them.

    python -m benchmarks.decoding                                    # the demo's model: 2+2 layers, width 192
    python -m benchmarks.decoding --width 512 --layers 6 --beam 5 --vocabulary 10000 --systems transformer reluformer

Peers, all with the same weights: `without caches`, the same batched search with the whole prefix read again at each
step; `one by one`, the usual loop over sentences, a beam in plain torch, without caches or batches. Weights are random,
with a pull towards hypotheses of about the source's length. Prints tokens a second of each and
ours as a ratio to the peers; fails where a peer finds other translations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.rows import Row, table, threads
from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.model.state import State
from reluformer.model.transformer import Transformer
from reluformer.translation.decode import translate
from reluformer.translation.search import Hypothesis, length_limits

SYSTEMS = Path(__file__).parents[1] / "config" / "systems.yaml"


class Ending(Transformer):
    """A Transformer of random weights that ends its hypotheses near `target` tokens, as a trained one would."""

    target = 14

    def pull(self, logits: Tensor, length: int) -> Tensor:
        """logits [..., V] after `length` tokens; the pull crosses zero at the target."""
        logits[..., EOS] += 2.0 * (length - self.target) + 6.0
        return logits

    def step(self, tokens: Tensor, state: State) -> Tensor:
        return self.pull(super().step(tokens, state), state.position)


class Prefix:
    """The rows of `WithoutCaches`: sources and what has been produced."""

    def __init__(self, source: Tensor, mask: Tensor, tokens: Tensor) -> None:
        self.source, self.mask, self.tokens = source, mask, tokens

    def select(self, rows: Tensor) -> None:
        self.source, self.mask, self.tokens = self.source[rows], self.mask[rows], self.tokens[rows]


class WithoutCaches:
    """The encoder once, the decoder over the whole prefix at each step."""

    def __init__(self, model: Ending) -> None:
        self.model = model

    def start(self, src: Tensor, src_mask: Tensor) -> Prefix:
        tokens = torch.empty((len(src), 0), dtype=torch.long, device=src.device)
        return Prefix(self.model.encode(src, src_mask), src_mask, tokens)

    def step(self, tokens: Tensor, state: Prefix) -> Tensor:
        state.tokens = torch.cat([state.tokens, tokens[:, None]], 1)
        mask = torch.ones_like(state.tokens, dtype=torch.bool)
        hidden = self.model._decode(state.source, state.mask, state.tokens, mask, [])
        return self.model.pull(self.model.project(hidden[:, -1]), state.tokens.size(1))


@torch.inference_mode()
def one_by_one(model: Ending, sources: list[np.ndarray], config: TranslationConfig) -> list[Hypothesis]:
    """Beam search as a plain loop: one sentence at a time, hypotheses as lists."""
    decoder = WithoutCaches(model)
    found = []
    for source in sources:
        src = torch.tensor([[*source.tolist(), EOS]])
        opened = decoder.start(src, torch.ones_like(src, dtype=torch.bool))
        limit = int(length_limits(torch.tensor([len(source)]), config)[0])
        live: list[tuple[list[int], float]] = [([], 0.0)]
        finished: list[tuple[float, list[int]]] = []
        for length in range(limit + 1):
            rows = torch.zeros(len(live), dtype=torch.long)
            state = Prefix(opened.source[rows], opened.mask[rows], torch.tensor([[BOS, *ids[:-1]] for ids, _ in live]))
            if length == 0:
                state.tokens = state.tokens[:, :0]
            last = torch.tensor([ids[-1] if ids else BOS for ids, _ in live])
            log_p = decoder.step(last, state).log_softmax(-1)
            log_p[:, [PAD, BOS, EOS] if length == 0 else [PAD, BOS]] = -torch.inf
            if length == limit:
                log_p[:, [token for token in range(log_p.size(1)) if token != EOS]] = -torch.inf
            total = (log_p + torch.tensor([score for _, score in live])[:, None]).flatten()
            value, index = total.topk(min(2 * config.beam, len(total)))
            going: list[tuple[list[int], float]] = []
            for rank, (score, at) in enumerate(zip(value.tolist(), index.tolist(), strict=True)):
                ids, token = live[at // log_p.size(1)][0], at % log_p.size(1)
                if token != EOS:
                    going.append(([*ids, token], score))
                elif rank < config.beam and score > -np.inf:
                    finished.append((score / (length + 1) ** config.length_penalty, ids))
            live = going[: config.beam]
            if len(finished) >= config.beam or length == limit:
                break
        score, ids = max(finished)
        found.append(Hypothesis(np.array(ids), score))
    return found


def measure(find: Callable[[], list[Hypothesis]]) -> tuple[float, list[Hypothesis]]:
    """Output tokens a second, and what was found."""
    begin = time.perf_counter()
    found = find()
    return sum(len(hypothesis.tokens) for hypothesis in found) / (time.perf_counter() - begin), found


def check(ours: list[Hypothesis], theirs: list[Hypothesis], name: str) -> None:
    """Fails where the translations differ by more than ties that rounding decides."""
    same = sum(a.tokens.tolist() == b.tokens.tolist() for a, b in zip(ours, theirs, strict=True))
    if same < 0.99 * len(ours):
        raise SystemExit(f"{name}: only {same} of {len(ours)} translations are ours")


def main() -> None:
    """Runs the benchmark."""
    print(table([row.record() for row in compare(parser().parse_args())]))


def rows() -> list[Row]:
    """Every system at the default size."""
    return compare(parser().parse_args([]))


def parser() -> argparse.ArgumentParser:
    """The options and their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["transformer", "attention-entmax15", "reluformer"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--slots", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--batch-tokens", type=int, default=3000, help="source tokens of a batch")
    parser.add_argument("--sentences", type=int, default=1000, help="for ours; the peers translate the first tenth")
    parser.add_argument("--threads", type=int, default=threads())
    return parser


def compare(options: argparse.Namespace) -> list[Row]:
    """Prints a line a system; ours against each peer, on the sentences that the peers translate."""
    rows = []
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(2.6, 0.5, options.sentences), 4, 60).astype(int)
    sources = [random.integers(5, options.vocabulary, length) for length in lengths]
    some = sources[: max(1, options.sentences // 10)]
    config = TranslationConfig(beam=options.beam, batch_tokens=options.batch_tokens)
    systems = yaml.safe_load(SYSTEMS.read_text(encoding="utf-8"))
    for name in options.systems:
        torch.manual_seed(0)
        shape = {"encoder_layers": options.layers, "decoder_layers": options.layers, "width": options.width}
        shape |= {"slots": options.slots, "vocabulary": options.vocabulary}
        model = Ending(ModelConfig(**shape, **SystemConfig(**systems[name]).memories())).eval()
        translate(model, some[:8], config)  # warms up
        begin = time.perf_counter()
        ours, _ = measure(lambda model=model: translate(model, sources, config))
        seconds = time.perf_counter() - begin
        few, found = measure(lambda model=model: translate(model, some, config))
        for peer, find in (
            ("without caches", lambda model=model: translate(WithoutCaches(model), some, config)),
            ("one by one", lambda model=model: one_by_one(model, some, config)),
        ):
            rate, theirs = measure(find)
            check(found, theirs, peer)
            rows.append(Row(f"decoding, {name}", few, peer, rate, "tokens/s"))
        print(f"{name}: {ours:.0f} tokens/s ({seconds:.1f} s for {len(sources)})", flush=True)
    return rows


if __name__ == "__main__":
    main()
