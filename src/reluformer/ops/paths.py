"""Fast paths, each tested on a device before it is trusted there.

At its first use on a kind of device a fast path computes a small case, forward and backward, in a separate process,
which may hang, crash or hit an illegal instruction without harm. If the result matches the reference, the path is
trusted from then on; otherwise one warning gives the reason, and the fallback is used. The verdict is cached with the
compiled kernels, by processor or GPU, driver, versions and source code; `reluformer doctor` proves every path again.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from reluformer.files import write_json
from reluformer.ops.build import cache_folder, compiled, digest, processor
from reluformer.ops.process import die_with_parent

PROVING = "RELUFORMER_PROVING"
"""The environment variable that names the path that this process proves."""
SECONDS = 300
"""Time limit of a proof, in seconds."""
SOURCES = ("memory", "ops", "model", "translation", "training")
"""Packages whose code the verdicts depend on."""

log = logging.getLogger(__name__)


class FastPath(NamedTuple):
    """A faster way to compute something.

    Attributes:
        what: a description of the computation.
        proof: module:function that takes the device type and raises if the path disagrees with its reference.
        devices: the device types that the path supports.
        fallback: a description of what replaces it.
    """

    what: str
    proof: str
    devices: tuple[str, ...]
    fallback: str


PATHS = {
    "triton": FastPath(
        "ReLU attention in Triton", "reluformer.memory.backends.proofs:triton", ("cuda",), "tiles in plain torch"
    ),
    "cpu": FastPath("ReLU attention in C++", "reluformer.memory.backends.proofs:cpu", ("cpu",), "tiles in plain torch"),
    "tiled": FastPath(
        "ReLU attention by tiles", "reluformer.memory.backends.proofs:tiled", ("cpu", "cuda"), "a read with its weights"
    ),
    "cross_entropy": FastPath(
        "cross-entropy in C++", "reluformer.ops.cross_entropy:prove", ("cpu",), "torch's own operators"
    ),
    "dropout": FastPath("dropout in C++", "reluformer.ops.dropout:prove", ("cpu",), "torch's own operators"),
    "beam": FastPath("steps of a search in C++", "reluformer.ops.beam:prove", ("cpu",), "torch's own operators"),
    "int8": FastPath(
        "products in int8 beside oneDNN in C++", "reluformer.ops.int8:prove", ("cpu",), "torch's own operators"
    ),
    "graphs": FastPath(
        "search by CUDA graphs", "reluformer.translation.graphs:prove", ("cuda",), "a search without graphs"
    ),
    "compile": FastPath(
        "compiled training", "reluformer.training.engine:prove_compiled", ("cuda",), "training without compilation"
    ),
}

_verdicts: dict[tuple[str, str], str | None] = {}
_lock = threading.RLock()


def trusted(path: str, device: str) -> bool:
    """Returns whether a path of PATHS is correct on a device type, such as "cuda"; proves it at the first call."""
    if (path, device) not in _verdicts:
        with _lock:
            if (path, device) not in _verdicts:
                _judge(path, device)
    return _verdicts[path, device] is None


# What torch.compiler.assume_constant_result sets, which imports the compiler, a second at every start.
trusted._dynamo_marked_constant = True  # type: ignore[attr-defined]


def distrust(path: str, device: str, error: BaseException) -> None:
    """Stops using a path in this process after it has failed in use; warns once."""
    reason = first_line(error)
    if _verdicts.get((path, device)) is None:
        _verdicts[path, device] = reason
        log.warning("%s failed: %s; %s takes over", PATHS[path].what, reason, PATHS[path].fallback)


def verdicts() -> dict[str, str]:
    """Returns, for each path that this process has asked about, "trusted" or the reason why not."""
    return {path: "trusted" if reason is None else reason for (path, _), reason in sorted(_verdicts.items())}


def prove(path: str, device: str) -> str | None:
    """Proves a path again and caches the verdict; returns None, or the reason not to trust it."""
    reason = _prove_apart(path, device)
    write_json(_verdict_file(path, device), {"path": path, "device": device, "reason": reason})
    return reason


def _judge(path: str, device: str) -> None:
    needless = device not in PATHS[path].devices or os.environ.get(PROVING) == path
    reason = None if needless else _cached_verdict(path, device)
    _verdicts[path, device] = reason
    if reason is not None:
        log.warning(
            "%s is not trusted here: %s; %s takes over (`reluformer doctor` tries again)",
            *(PATHS[path].what, reason, PATHS[path].fallback),
        )


def _cached_verdict(path: str, device: str) -> str | None:
    """Returns the cached verdict; concurrent processes wait for the one that proves the path."""
    try:
        file = _verdict_file(path, device)
        with FileLock(file.with_suffix(".lock")):
            if file.is_file():
                reason: str | None = json.loads(file.read_text(encoding="utf-8"))["reason"]
                return reason
            return prove(path, device)
    except OSError:  # a cache that cannot be written
        return _prove_apart(path, device)


def _prove_apart(path: str, device: str) -> str | None:
    """Proves a path in a separate process; in this one if it holds the GPU exclusively."""
    environment = {**os.environ, PROVING: path, "PYTHONSAFEPATH": "1"}
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "reluformer.ops.paths", path, device],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no result within {SECONDS} s"
    if ended.returncode < 0:
        return f"killed by {signal.Signals(-ended.returncode).name}"
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    if ended.returncode and "busy or unavailable" in (lines or [""])[-1]:
        return _prove_here(path, device)
    return None if ended.returncode == 0 else (lines or [f"exit code {ended.returncode}"])[-1]


def _prove_here(path: str, device: str) -> str | None:
    module, _, function = PATHS[path].proof.partition(":")
    try:
        getattr(importlib.import_module(module), function)(device)
    except Exception as error:  # whatever a broken compiler, driver or kernel raises
        return first_line(error)
    return None


def _verdict_file(path: str, device: str) -> Path:
    folder = cache_folder() / "proofs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{path}-{digest(*_kind(device))}.json"


def _kind(device: str) -> tuple[str, ...]:
    """Returns what a verdict depends on: the device, its driver, the versions and the code."""
    texts = [device, torch.__version__, sys.version, os.environ.get("CXX", ""), _code()]
    if device == "cuda":
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        driver = torch._C._cuda_getDriverVersion()  # type: ignore[attr-defined]
        texts += [properties.name, f"{properties.major}.{properties.minor}", str(driver), str(torch.version.cuda)]
        texts += [distribution.version for distribution in importlib.metadata.distributions(name="triton")]
    else:
        texts += [processor()]
    return tuple(texts)


@functools.cache
def _code() -> str:
    root = Path(__file__).parents[1]
    files = sorted(file for name in SOURCES for file in (root / name).rglob("*.[cph]*") if file.suffix != ".pyc")
    return digest(*(file.read_text(encoding="utf-8") for file in files))


def first_line(error: BaseException) -> str:
    """Returns an error's type and the first line of its message."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def require_close(name: str, ours: Tensor, reference: Tensor, tolerance: float) -> None:
    """Raises `ArithmeticError` if a result differs from its reference by more than `tolerance` of the largest value."""
    reference = reference.to(ours.device)
    error = (ours.double() - reference.double()).abs().max() / reference.double().abs().max().clamp(min=1e-9)
    if not error <= tolerance:  # or NaN
        raise ArithmeticError(f"{name} is wrong by {error.item():.1e} of its largest value")


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """Returns the compiled kernels of a C++ file; None if they do not compile or are not trusted here (logged)."""
    try:
        file = compiled(cache_folder(), source)
        return ctypes.CDLL(str(file)) if trusted(source.stem, "cpu") else None
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        log.warning("%s: runs without its C++ kernels: %s", source.stem, " ".join(reason.split())[:300])
        return None


def call(source: Path, function: str, numbers: Sequence[int], *more: ctypes.c_float | ctypes.c_uint32) -> None:
    """Calls a compiled function of `source` with packed int64 numbers, then `more`; the library must exist."""
    kernel = library(source)
    assert kernel is not None
    getattr(kernel, function)((ctypes.c_int64 * len(numbers))(*numbers), *more)


def main(arguments: list[str]) -> int:
    """Proves the given path on a device type; without arguments, all available ones, printing a line of JSON for each.

    If a given path fails, prints the reason to standard error and returns 1.
    """
    if not arguments:
        for path, (what, _, devices, fallback) in PATHS.items():
            for device in devices:
                missing = device == "cuda" and not torch.cuda.is_available()
                if missing or (path == "triton" and find_spec("triton") is None):
                    continue
                verdict = {"path": path, "device": device, "what": what, "fallback": fallback}
                print(json.dumps({**verdict, "reason": prove(path, device)}), flush=True)
        return 0
    die_with_parent()
    if (reason := _prove_here(*arguments)) is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
