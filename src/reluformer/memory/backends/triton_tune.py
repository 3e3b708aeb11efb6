"""Which forms each Triton kernel tries, for its head width, length and number format.

Triton measures them at the first call of each kind on a card and keeps the choice on disk. Its interpreter measures
nothing: it takes the first.

Skipping tiles without a positive score is one of the choices: what follows the test is behind a branch, and Triton
prefetches nothing from behind a branch. It pays where whole tiles are empty, so both forms are measured, on the data
of the first call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import triton

BUCKETS = (32, 128, 512, 2048)
"""Lengths up to each of these are tuned together, those above as one more."""
KINDS = ("KEYS", "CAUSAL", "DROPOUT", "STATISTICS", "PRECISION", "W", "length")
"""What a choice depends on, beside the tensors' number formats."""


def bucket(rows: int, slots: int) -> int:
    """The bucket that a read of so many rows and slots falls into: 0 is the shortest."""
    return sum(max(rows, slots) > bound for bound in BUCKETS)


class Form(NamedTuple):
    """One form of a kernel: rows and slots of a tile, whether empty tiles are skipped, warps and pipeline stages."""

    rows: int
    slots: int
    skip: bool
    warps: int
    stages: int

    def config(self) -> triton.Config:
        constants = {"BM": self.rows, "BN": self.slots, "SKIP": self.skip}
        return triton.Config(constants, num_warps=self.warps, num_stages=self.stages)


def forms(width: int, length: int, bytes_each: int, turned: bool = False) -> list[Form]:
    """The forms to try, the one that the interpreter takes first.

    width: of a head, a power of two; length: the bucket; bytes_each: of one number of the query; turned: for the
    kernel whose programs hold slots and pass over rows, where the long side is a tile's slots.
    """
    if length == 0:
        choices = [(16, 32, 2, 2), (32, 32, 4, 2)]
    elif bytes_each == 4:
        choices = [(64, 32, 8, 2), (32, 32, 4, 2)]
    elif length == 1:
        choices = [(32, 64, 4, 2), (64, 64, 4, 2), (64, 32, 4, 3)]
    elif width <= 64:
        choices = [(128, 64, 8, 3), (64, 64, 4, 3), (128, 128, 8, 2)]
    else:
        choices = [(128, 64, 8, 2), (64, 64, 4, 2), (128, 32, 8, 3)]
    skips = (True, False) if length > 1 else (False,)
    return [Form(*((n, m) if turned else (m, n)), skip, w, s) for m, n, w, s in choices for skip in skips]


def _prune(turned: bool) -> Callable[..., list[triton.Config]]:
    def prune(configs: list[triton.Config], arguments: dict[str, Any], **constants: Any) -> list[triton.Config]:
        named = {**arguments, **constants}
        wanted = [f.config() for f in forms(named["W"], named["length"], named["query"].element_size(), turned)]
        return [config for config in configs if config in wanted]

    return prune


class _First:
    """A kernel that always takes its first form."""

    def __init__(self, kernel: Any, turned: bool) -> None:
        self.kernel = kernel
        self.turned = turned

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return functools.partial(self._launch, grid)

    def _launch(self, grid: Any, *arguments: Any, **constants: Any) -> None:
        named = {**dict(zip(self.kernel.arg_names, arguments, strict=False)), **constants}
        first = forms(named["W"], named["length"], named["query"].element_size(), self.turned)[0]
        self.kernel[grid](*arguments, **constants, **first.config().kwargs)


def tuned(kernel: Any, turned: bool = False) -> Any:
    """The kernel in the form that measurement chose; in Triton's interpreter, in its first."""
    if triton.knobs.runtime.interpret:
        return _First(kernel, turned)
    lengths = range(len(BUCKETS) + 1)
    every = {form for w in (16, 128) for n in lengths for b in (2, 4) for form in forms(w, n, b, turned)}
    configs = [form.config() for form in sorted(every)]
    prune = {"early_config_prune": _prune(turned)}
    return triton.autotune(configs, key=list(KINDS), prune_configs_by=prune, cache_results=True)(kernel)
