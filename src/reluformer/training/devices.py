"""Assigns GPUs to the jobs of one machine, so that two never share one. Does not import torch.

Each device has a lock file in the machine's temporary folder, held by a job until it ends. Under SLURM the devices in
CUDA_VISIBLE_DEVICES are the job's alone, and nothing is locked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from reluformer.config.settings import SettingsError

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
def claim_devices(count: int, folder: Path | None = None) -> Iterator[list[str]]:
    """Waits for `count` free devices and locks them; yields their names, or an empty list without a GPU.

    folder: of the lock files; by default one for each user of the machine.

    Raises `SettingsError` if the machine has some devices, but fewer than `count`.
    """
    devices = visible_devices()
    if devices and len(devices) < count:
        raise SettingsError(f"training.processes: {count}: this job may use only {len(devices)} device(s)")
    if not devices or "SLURM_JOB_ID" in os.environ:
        yield devices[:count]
        return
    folder = folder or Path(tempfile.gettempdir()) / f"reluformer-devices-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        while not (claimed := _try_claim(devices, count, folder, locks)):
            time.sleep(POLL_SECONDS)
        yield claimed


def _try_claim(devices: list[str], count: int, folder: Path, locks: contextlib.ExitStack) -> list[str]:
    """Locks `count` free devices, all or none: two jobs that want two each cannot end up with one each."""
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
