"""Compiles C++ files and caches the libraries: `compiled(folder, source)`.

The cache is `$RELUFORMER_CACHE`, by default `~/.cache/reluformer`. A library's name contains a hash of the source,
the flags and the processor, so that different machines can share a home, and a hash of the compiler. `$CXX` names the
compiler; without any compiler, a cached library from another one is used if source and processor match.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

INCLUDE = Path(__file__).parent
HEADERS = sorted(INCLUDE.parent.rglob("*.hpp"))
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-shared", "-fPIC")
SECONDS = 300
"""Time limit of a compilation, in seconds."""


def cache_folder() -> Path:
    """Returns the cache folder. Raises `OSError` if the last resort, in /tmp, belongs to another user."""
    if named := os.environ.get("RELUFORMER_CACHE"):
        return Path(named)
    home = os.path.expanduser("~")  # noqa: PTH111  (Path.expanduser raises RuntimeError without a home)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "reluformer"
    try:
        if not folder.is_absolute():
            raise FileNotFoundError("there is no home directory")
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        return folder
    folder = Path(tempfile.gettempdir()) / f"reluformer-{os.getuid()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def compiled(folder: Path, source: Path) -> Path:
    """Returns the library of `source` in `folder`, compiled if missing.

    Concurrent processes wait for the one that compiles.

    Raises `OSError` and `subprocess.SubprocessError`.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    inputs = (*(path.read_text(encoding="utf-8") for path in (source, *HEADERS)), *FLAGS, processor())
    name = f"{source.stem}-{digest(*inputs)}"
    if compiler is None:
        if cached := sorted(folder.glob(f"{name}-*.so")):
            return cached[0]
        raise FileNotFoundError("there is no C++ compiler (g++, clang++ or $CXX)")
    target = folder / f"{name}-{digest(compiler)}.so"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_file():
            partial = target.with_suffix(f".{os.getpid()}.part")
            try:
                subprocess.run(
                    [*compiler.split(), *FLAGS, f"-I{INCLUDE}", str(source), "-o", str(partial)],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                )
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
    return target


def digest(*texts: str) -> str:
    """Returns a hash of texts, short enough for a file name."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def processor() -> str:
    """Returns what identifies the processor to -march=native."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    fields = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split(":")[0].strip() in fields}))
