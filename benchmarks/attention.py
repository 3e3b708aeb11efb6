"""Speed and memory of attention, forward and backward: ours against torch's fused softmax (SDPA).

    python -m benchmarks.attention --lengths 512 --lengths 1024 --width 64 --heads 8 --tokens 2048

In fp32 on a CPU, in bf16 on CUDA. Peers: `SDPA` on the same tensors and masks (FlashAttention on CUDA); on CUDA
`FlexAttention` computing ReLU; `eager`, the read that stores its weights (RELUFORMER_KERNEL=reference); ours without
the penalty; a large matrix product. Sparse activations use adasplash on CUDA if it is installed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

from benchmarks.rows import Row, interleaved, run, threads
from reluformer.benchmark.harness import matmul_speed, peak_memory, timed
from reluformer.config.memory import MemoryConfig, PenaltyConfig
from reluformer.memory.activations import Activation, build_activation
from reluformer.memory.mask import AttentionMask
from reluformer.memory.penalty import Penalty
from reluformer.memory.read import read
from reluformer.ops.process import keep_freed_memory

LONG = 8192
"""Tokens at which memory is compared."""
LENGTHS = (25, 512, 1024, 2048)
FUSED = ("relu-length", "relu-squared", "relu-shifted", "sigmoid")
"""Activations beyond the paper's that the kernels compute by a functor; their target applies from FUSED_FROM tokens."""
FUSED_FROM = 512
WHY_PENALTY = (
    "on top of the seven products, a logarithm and two sums per weight in the forward pass, a logarithm in the "
    "backward pass (5 % of a profile at 25 tokens), and torch's operations on the rows' sums, in one thread"
)
WHY_MEMORY = "the gradients and the packed copies of query and output's gradient, all linear in the length"


def device() -> str:
    """Returns cuda if there is a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def forced(backend: str) -> mock._patch_dict:
    """Returns a context in which RELUFORMER_KERNEL is `backend`; "" leaves it unchanged."""
    return mock.patch.dict(os.environ, {"RELUFORMER_KERNEL": backend} if backend else {})


def flex_relu(query: Tensor, key: Tensor, value: Tensor, scale: float, attend: Callable = flex_attention) -> Tensor:
    """Returns ReLU(q·k · scale)·v [B, H, N, D] by FlexAttention, which supports only softmax.

    The score's logarithm undoes softmax's exponential, and the row's log-sum its normalisation. A row without positive
    scores is 0.
    """

    def positive(score: Tensor, *_: Tensor) -> Tensor:
        return torch.where(score > 0, score.clamp_min(1e-30).log(), -torch.inf)

    output, aux = attend(query, key, value, score_mod=positive, scale=scale, return_aux=AuxRequest(lse=True))
    return torch.nan_to_num(output) * aux.lse.exp()[..., None].to(output.dtype)


class Problem:
    """The tensors of one read, with strided heads as in a model, and its mask; ragged: from half to full length."""

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
        self.mask = AttentionMask(length, keys, causal=mask == "causal")
        self.products = 2 * batch * heads * length * length * width
        """Floating-point operations of one product of all pairs of rows and slots."""

    def run(self, activation: Activation, penalty: Penalty | None = None) -> None:
        """Runs forward and backward, and drops the gradients."""
        tensors = [x.detach().requires_grad_() for x in (self.query, self.key, self.value)]
        result = read(*tensors, activation, self.mask, scale=self.query.size(-1) ** -0.5, penalty=penalty)
        outputs = {result.output: self.grad}
        if result.penalty is not None:
            outputs[result.penalty] = torch.ones_like(result.penalty)
        torch.autograd.grad(list(outputs), tensors, list(outputs.values()))

    def timed_flex(self) -> Callable[[], float]:
        """Returns a function that returns the milliseconds of one run of ReLU by compiled FlexAttention."""
        compiled = torch.compile(flex_attention)
        tensors = [x.detach().contiguous().requires_grad_() for x in (self.query, self.key, self.value)]

        def step() -> None:
            output = flex_relu(*tensors, scale=self.query.size(-1) ** -0.5, attend=compiled)
            torch.autograd.grad(output, tensors, self.grad)

        return lambda: 1e3 * timed(step, device())

    def timed(self, name: str, penalty: Penalty | None = None, backend: str = "") -> Callable[[], float]:
        """Returns a function that returns the milliseconds of one run."""
        activation = build_activation(MemoryConfig(activation=name), self.query.size(1))
        activation = activation.to(device(), self.query.dtype)

        def measure() -> float:
            with forced(backend):
                return 1e3 * timed(lambda: self.run(activation, penalty), device())

        return measure


def long_memory(name: str, backend: str, length: int) -> float:
    """Returns the MiB that one read of `length` tokens needs in addition to its tensors, forward and backward."""
    torch.set_num_threads(threads())
    warm, problem = Problem(64, 64, 1, 64, "all"), Problem(length, length, 1, 64, "all")
    activation = build_activation(MemoryConfig(activation=name), 1).to(device(), problem.query.dtype)
    with forced(backend):
        warm.run(activation)
        with peak_memory(device()) as peak:
            problem.run(activation)
    return peak() / 2**20


def memory(name: str, backend: str, length: int = LONG) -> float:
    """Returns `long_memory`, measured in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(long_memory, name, backend, length).result(timeout=300)


def speed_rows(length: int, heads: int, width: int, tokens: int, rounds: int) -> list[Row]:
    """Returns the rows of one length: each mask against SDPA, the penalty, eager, and other activations."""
    target = 1.0 if device() == "cpu" else 1.15
    results = []
    for mask in ("all", "causal", "ragged"):
        problem = Problem(tokens, length, heads, width, mask)
        measures = {
            "ours": problem.timed("relu-scaled"),
            "SDPA": problem.timed("softmax"),
            "penalty": problem.timed("relu-scaled", Penalty(PenaltyConfig())),
            "matmul": matmul_speed("fp32" if device() == "cpu" else "bf16", device()),
        }
        if mask == "all":
            measures["eager"] = problem.timed("relu-scaled", backend="reference")
            if device() == "cuda":
                measures["FlexAttention"] = problem.timed_flex()
        medians = interleaved(measures, rounds)
        (ours, spread), (peak, _), (slow, slow_spread) = (medians[name] for name in ("ours", "matmul", "penalty"))
        # Seven products of rows with slots: two forward, five backward, one of which recomputes the scores.
        rate = 7e3 * problem.products / ours / (2 if mask == "causal" else 1)
        why = f"{rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of a large matrix product"
        what = f"ReLU attention, {length} tokens, {mask}, forward + backward"
        results.append(Row(what, ours, "SDPA", medians["SDPA"][0], "ms", target, True, spread, why))
        with_it = f"with the penalty, {length} tokens, {mask}"
        results.append(Row(with_it, slow, "without it", ours, "ms", 1 / 1.25, True, slow_spread, WHY_PENALTY))
        if mask == "all":
            for peer in ("eager", "FlexAttention"):
                if peer in medians:
                    results.append(Row(what, ours, peer, medians[peer][0], "ms", None, True, spread))
            share = f"share of a large matrix product's speed, {length} tokens"
            results.append(Row(share, rate / 1e9, "matmul", peak / 1e9, "GFLOP/s"))
            others = {name: problem.timed(name) for name in (*FUSED, "sparsemax", "entmax15")}
            medians = interleaved({"SDPA": measures["SDPA"]} | others, max(1, rounds // 2))
            softmax = medians.pop("SDPA")[0]
            for name, (middle, spread) in medians.items():
                own_target = target if name in FUSED and length >= FUSED_FROM else None
                why = f"{7 * problem.products / middle / 1e6:.0f} GFLOP/s"
                results.append(
                    Row(f"{name}, {length} tokens", middle, "SDPA", softmax, "ms", own_target, True, spread, why)
                )
    return results


def rows(
    lengths: list[int] = list(LENGTHS),  # noqa: B006
    heads: int = 8,
    width: int = 64,
    tokens: int = 2048,
    rounds: int = 5,
) -> list[Row]:
    """Attention at these lengths, with heads of this width, in batches of this many tokens."""
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
    ours = memory("relu-scaled", "")
    for peer, name, backend, target in (("eager", "relu-scaled", "reference", 10.0), ("SDPA", "softmax", "", None)):
        what = f"extra memory, {LONG} tokens, one head"
        results.append(Row(what, ours, peer, memory(name, backend), "MiB", target, True, None, WHY_MEMORY))
    return results


if __name__ == "__main__":
    run(rows)
