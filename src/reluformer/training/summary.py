"""The machine of a training run: exclusive locks on GPUs, and the versions and hardware in summary.json.

Each GPU has a lock file per user in the machine's temporary folder, held by a job until it ends. Under SLURM the GPUs
in CUDA_VISIBLE_DEVICES are the job's alone, so nothing is locked. Only `machine` imports torch.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reluformer.config.settings import SettingsError
from reluformer.ops.process import usable_cores

PACKAGES = ("torch", "deepspeed", "numpy", "safetensors")
POLL_SECONDS = 0.5


def visible_devices() -> list[str]:
    """Returns the devices that this process may use, as CUDA_VISIBLE_DEVICES names them; empty without a GPU."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is not None:
        return [device.strip() for device in names.split(",") if device.strip() not in ("", "-1", "NoDevFiles")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listing.stdout.split() if listing.returncode == 0 else []


@contextlib.contextmanager
def claim_devices(count: int) -> Iterator[list[str]]:
    """Waits for `count` free devices and locks them; yields their names, or an empty list without a GPU.

    Raises `SettingsError` if there are devices, but fewer than `count`.
    """
    devices = visible_devices()
    if devices and len(devices) < count:
        raise SettingsError(f"training.processes: {count}: this job may use only {len(devices)} device(s)")
    if not devices or "SLURM_JOB_ID" in os.environ:
        yield devices[:count]
        return
    folder = Path(tempfile.gettempdir()) / f"reluformer-devices-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        while not (claimed := _try_claim(devices, count, folder, locks)):
            time.sleep(POLL_SECONDS)
        yield claimed


def _try_claim(devices: list[str], count: int, folder: Path, locks: contextlib.ExitStack) -> list[str]:
    """Locks `count` free devices, all or none: two jobs that need two each cannot end up with one each."""
    with FileLock(folder / "claim.lock"), contextlib.ExitStack() as attempt:
        claimed: list[str] = []
        for device in devices:
            with contextlib.suppress(Timeout):
                attempt.enter_context(FileLock(folder / f"{device.replace('/', '_')}.lock", timeout=0))
                claimed.append(device)
            if len(claimed) == count:
                locks.push(attempt.pop_all())
                return claimed
    return []


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that affect a run's results."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def code_version() -> str:
    """Returns the commit, with `-dirty` for uncommitted changes; outside its own repository, the package's version."""
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
    """Runs git in `folder`, ignoring variables such as GIT_DIR, and returns its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    words = ["git", "-C", str(folder), *command]
    ended = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=10, check=True, env=environment)
    return ended.stdout.strip()


def machine() -> dict[str, Any]:
    """Returns the processor, the number of cores this process may use, and the GPUs, but not the host's name."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"cpu": _processor(), "cores": usable_cores(), "gpus": gpus}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
