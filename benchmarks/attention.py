"""Attention, forward and backward: ours against torch's fused softmax (SDPA), the speed and the memory.

    python -m benchmarks.attention --lengths 512 1024 2048 --width 64 --heads 8 --tokens 2048

On a CPU in fp32. On CUDA in bf16, with the share of the card's measured matmul peak. Peers: `SDPA` on the same tensors
and masks; `eager`, the read with its weights (RELUFORMER_KERNEL=reference); ours without the penalty.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable

import torch

from benchmarks.rows import Row, interleaved, table, threads
from reluformer.benchmark.harness import matmul_speed, peak_memory, timed
from reluformer.config.memory import MemoryConfig, PenaltyConfig
from reluformer.memory.activations import Activation, build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import read
from reluformer.ops.process import keep_freed_memory

LONG = 8192
"""Tokens at which memory is compared."""


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class Problem:
    """Tensors of one read as a model would make them, heads strided, with its visible slots; ragged: half to full."""

    def __init__(self, tokens: int, length: int, heads: int, width: int, mask: str) -> None:
        torch.manual_seed(length)
        batch = max(1, tokens // length)
        dtype = torch.float32 if device() == "cpu" else torch.bfloat16
        shape = (batch, length, 4, heads, width)
        self.query, self.key, self.value, self.grad = (
            torch.randn(shape, device=device(), dtype=dtype).permute(2, 0, 3, 1, 4).unbind(0)
        )
        keys = None
        if mask == "ragged":
            lengths = torch.linspace(length / 2, length, batch + 2)[1:-1].round().to(device())
            keys = torch.arange(length, device=device())[None] < lengths[:, None]
        self.visible = AttentionMask(length, keys, causal=mask == "causal")
        self.products = 2 * batch * heads * length * length * width
        """Floating-point operations of one product of all pairs of rows and slots."""

    def run(self, activation: Activation, penalty: Penalty | None = None) -> None:
        """Forward and backward; gradients are not kept."""
        tensors = [x.detach().requires_grad_() for x in (self.query, self.key, self.value)]
        reading = read(*tensors, activation, self.visible, scale=self.query.size(-1) ** -0.5, penalty=penalty)
        outputs = [reading.output] if reading.penalty is None else [reading.output, reading.penalty]
        torch.autograd.grad(
            outputs, tensors, [self.grad] if len(outputs) == 1 else [self.grad, reading.penalty * 0 + 1]
        )

    def timed(self, name: str, penalty: Penalty | None = None, backend: str | None = None) -> Callable[[], float]:
        """A function that gives the seconds of one run."""
        built = build_activation(MemoryConfig(activation=name), self.query.size(1)).to(device(), self.query.dtype)

        def measure() -> float:
            with forced(backend):
                return timed(lambda: self.run(built, penalty), device())

        return measure


class forced:
    """RELUFORMER_KERNEL set for a while; none leaves it as it is."""

    def __init__(self, backend: str | None) -> None:
        self.backend, self.before = backend, os.environ.get("RELUFORMER_KERNEL")

    def __enter__(self) -> None:
        if self.backend is not None:
            os.environ["RELUFORMER_KERNEL"] = self.backend

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            os.environ.pop("RELUFORMER_KERNEL", None)
        else:
            os.environ["RELUFORMER_KERNEL"] = self.before


def long_memory(name: str, backend: str, length: int, pipe: object) -> None:
    """Sends the MiB that one read of so many tokens, forward and backward, needs beside its tensors."""
    torch.set_num_threads(threads())
    os.environ["RELUFORMER_KERNEL"] = backend
    warm, problem = Problem(64, 64, 1, 64, "all"), Problem(length, length, 1, 64, "all")
    built = build_activation(MemoryConfig(activation=name), 1).to(device(), problem.query.dtype)
    warm.run(built)
    with peak_memory(device()) as peak:
        problem.run(built)
    pipe.send(peak() / 2**20)  # type: ignore[attr-defined]


def memory(name: str, backend: str, length: int = LONG) -> float:
    """`long_memory` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=long_memory, args=(name, backend, length, theirs))
    process.start()
    if not ours.poll(300):
        process.kill()
        raise SystemExit(f"benchmarks: no figure for the memory of {name} ({backend})")
    process.join()
    return ours.recv()


def speed_rows(length: int, heads: int, width: int, tokens: int, rounds: int) -> list[Row]:
    """One length: all masks against SDPA, with the penalty against without, the sparse projections against SDPA."""
    target = 1.0 if device() == "cpu" else 1.15
    results = []
    for mask in ("all", "causal", "ragged"):
        problem = Problem(tokens, length, heads, width, mask)
        penalty = Penalty(PenaltyConfig())
        measures = {
            "ours": problem.timed("relu-scaled"),
            "SDPA": problem.timed("softmax"),
            "penalty": problem.timed("relu-scaled", penalty),
            "matmul": matmul_speed("fp32" if device() == "cpu" else "bf16", device()),
        }
        if mask == "all":
            measures["eager"] = problem.timed("relu-scaled", backend="reference")
        medians = interleaved(measures, rounds)
        (ours, spread), (peak, _) = medians["ours"], medians["matmul"]
        # Seven products of rows with slots: two forward, five backward, one of these the scores again.
        rate = 7 * problem.products / ours / (2 if mask == "causal" else 1)
        why = f"{rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of a large matrix product"
        what = f"ReLU attention, {length} tokens, {mask}, forward + backward"
        results.append(Row(what, ours * 1e3, "SDPA", medians["SDPA"][0] * 1e3, "ms", target, True, spread, why))
        slow, spread = medians["penalty"]
        with_it = f"with the penalty, {length} tokens, {mask}"
        why = (
            "beside the seven products a logarithm and two sums a weight in the forward pass, a logarithm in the "
            "backward pass (5 % of a profile at 25 tokens), and torch's operations on the rows' sums, by one thread"
        )
        results.append(Row(with_it, slow * 1e3, "without it", ours * 1e3, "ms", 1 / 1.25, True, spread, why))
        if mask == "all":
            eager = medians["eager"][0]
            results.append(Row(what, ours * 1e3, "eager", eager * 1e3, "ms", None, True, medians["ours"][1]))
            results.append(
                Row(
                    f"share of a large matrix product's speed, {length} tokens",
                    rate / 1e9,
                    "matmul",
                    peak / 1e9,
                    "GFLOP/s",
                )
            )
            sparse = {"SDPA": measures["SDPA"]} | {name: problem.timed(name) for name in ("sparsemax", "entmax15")}
            medians = interleaved(sparse, max(1, rounds // 2))
            softmax = medians.pop("SDPA")[0] * 1e3
            for name, (middle, spread) in medians.items():
                results.append(Row(f"{name}, {length} tokens", middle * 1e3, "SDPA", softmax, "ms", None, True, spread))
    return results


def rows(
    lengths: tuple[int, ...] = (25, 512, 1024, 2048),
    heads: int = 8,
    width: int = 64,
    tokens: int = 2048,
    rounds: int = 5,
) -> list[Row]:
    """Every comparison; tokens: of a batch, so that short sequences come in many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads())
    keep_freed_memory()
    try:
        results = []
        for length in lengths:
            print(f"{length} tokens", flush=True)
            results += speed_rows(length, heads, width, tokens, rounds)
    finally:
        torch.set_num_threads(before)
    print(f"memory at {LONG} tokens", flush=True)
    ours = memory("relu-scaled", os.environ.get("RELUFORMER_KERNEL", ""))
    for peer, name, backend, target in (("eager", "relu-scaled", "reference", 10.0), ("SDPA", "softmax", "", None)):
        what = f"extra memory, {LONG} tokens, one head"
        why = "the gradients and the packed copies of query and output's gradient, all linear in the length"
        results.append(Row(what, ours, peer, memory(name, backend), "MiB", target, True, None, why))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[25, 512, 1024, 2048])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--width", type=int, default=64, help="of a head")
    parser.add_argument("--tokens", type=int, default=2048, help="of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    options = vars(parser.parse_args())
    results = rows(tuple(options.pop("lengths")), **options)
    print(table([row.record() for row in results]))


if __name__ == "__main__":
    main()
