"""Code version, package versions and machine of a training, for summary.json."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "deepspeed", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a training's numbers."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def code_version() -> str:
    """Returns the commit of the code, with `-dirty` after changes; the package's version outside its own repository."""
    root = Path(__file__).resolve().parents[3]
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() == root:
            return _git(root, "describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        pass
    try:
        return importlib.metadata.version("reluformer")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git(folder: Path, *command: str) -> str:
    """Runs git in `folder`, whatever GIT_DIR says, and returns its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    words = ["git", "-C", str(folder), *command]
    ended = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=10, check=True, env=environment)
    return ended.stdout.strip()


def machine() -> dict[str, Any]:
    """Returns the processor, the number of cores this process may use, and the GPUs; never the machine's name."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"cpu": _processor(), "cores": len(os.sched_getaffinity(0)), "gpus": gpus}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
