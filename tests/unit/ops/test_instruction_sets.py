"""The C++ kernels with other instruction sets: this processor without AVX-512, and NEON, emulated by qemu.

The proofs of `ops.paths` compare every kernel with its reference, forward and backward. There is no torch under qemu,
so the test sends each call's arguments and memory to a small program (`emulated.cpp`) and copies its changes back.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from reluformer.memory import backends
from reluformer.memory.backends import cpu, proofs
from reluformer.ops import beam, build, cross_entropy, dropout, int8, paths

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PROOFS = {"cpu": proofs.cpu, "cross_entropy": cross_entropy.prove, "dropout": dropout.prove, "beam": beam.prove}
PROOFS |= {"int8": int8.prove} if int8.AVAILABLE else {}
WINDOW = 1 << 18
"""How many bytes after a pointer a kernel may access in a proof."""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86 processor")
def test_the_kernels_are_right_without_avx512(tmp_path, warm_python):
    compiler = "g++ -mno-avx512f"
    macros = subprocess.run(
        [*compiler.split(), "-march=native", "-dM", "-E", "-xc++", os.devnull],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "__AVX512F__" not in macros.stdout
    environment = {**os.environ, "CXX": compiler, "RELUFORMER_CACHE": str(tmp_path)}
    for path in PROOFS:
        command = [warm_python, "-m", "reluformer.ops.paths", path, "cpu"]
        ended = subprocess.run(command, env={**environment, paths.PROVING: path}, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, ""), path
        assert list(tmp_path.glob(f"{path}-*.so"))


@pytest.fixture(scope="session")
def cross(tmp_path_factory):
    """Returns a function (sources, options) -> file that compiles for aarch64, and the emulator's command."""
    compiler, qemu = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or qemu is None:
        pytest.skip("needs Debian's packages g++-aarch64-linux-gnu and qemu-user")
    folder = tmp_path_factory.mktemp("aarch64")

    def build_for_arm(source: Path, *options: str) -> Path:
        target = folder / f"{source.stem}.bin"
        command = [compiler, *options, f"-I{build.INCLUDE}", str(source), "-o", str(target), "-ldl"]
        if not target.exists():
            subprocess.run(command, check=True)
        return target

    return build_for_arm, [qemu, "-L", "/usr/aarch64-linux-gnu"]


@pytest.mark.parametrize("path", PROOFS)
def test_the_kernels_are_right_on_neon(path, cross, tmp_path, monkeypatch):
    build_for_arm, emulator = cross
    flags = ["-march=armv8-a" if flag == "-march=native" else flag for flag in build.FLAGS]
    program = build_for_arm(HERE / "emulated.cpp", "-std=c++20")
    calls = []

    def call(source, function, numbers, *more):
        calls.append(function)
        library = build_for_arm(source, *flags)
        emulate([*emulator, str(program), str(library), function], tmp_path / "memory", numbers, more)

    for module in (cpu, cross_entropy, dropout, beam, int8):
        monkeypatch.setattr(module, "call", call)
    for module in (backends, dropout):
        monkeypatch.setattr(module, "draw_seed", lambda: 2026)  # larger ones can be addresses of the heap
    monkeypatch.setenv(paths.PROVING, path)
    PROOFS[path]("cpu")
    assert calls


def emulate(command, file, numbers, more):
    """Runs a kernel on a copy of all memory behind the pointers in `numbers`, and copies what it changed back."""
    maps = [line.split(maxsplit=2) for line in Path("/proc/self/maps").read_text().splitlines()]
    writable = [tuple(int(end, 16) for end in span.split("-")) for span, rights, _ in maps if rights.startswith("rw")]
    ends = {n: min(end, n + WINDOW) for n in numbers for first, end in writable if first <= n < end}
    regions: list[list[int]] = []
    for first in sorted(ends):
        if regions and first <= regions[-1][1]:
            regions[-1][1] = max(regions[-1][1], ends[first])
        else:
            regions.append([first, ends[first]])
    pointers = [
        (i, r, n - first) for i, n in enumerate(numbers) for r, (first, end) in enumerate(regions) if first <= n < end
    ]
    words = [x.value for x in more if isinstance(x, ctypes.c_uint32)]
    floats = [x.value for x in more if isinstance(x, ctypes.c_float)]
    before = [ctypes.string_at(first, end - first) for first, end in regions]
    parts = [
        np.array([len(numbers), len(regions), len(pointers)], np.int64),
        np.array([*words, 0, 0][:2], np.uint32),
        np.array([*floats, 0, 0][:2], np.float32),
        np.array([int(n) for n in numbers], np.uint64),
        np.array([len(memory) for memory in before], np.int64),
        np.array(pointers, np.int64),
    ]
    header = b"".join(part.tobytes() for part in parts)
    file.write_bytes(header + b"".join(before))
    subprocess.run([*command, str(file)], check=True)
    content, start = file.read_bytes(), len(header)
    for (first, _), memory in zip(regions, before, strict=True):
        after = np.frombuffer(content, np.uint8, len(memory), start)
        changed = (after != np.frombuffer(memory, np.uint8)).nonzero()[0]
        start += len(memory)
        for run in np.split(changed, (np.diff(changed) > 1).nonzero()[0] + 1):
            if len(run):
                ctypes.memmove(first + int(run[0]), after[run[0] : run[-1] + 1].tobytes(), len(run))
