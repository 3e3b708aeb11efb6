"""Which local devices a job may use: concurrent jobs of one machine never share one. No torch in here.

Each device has a lock file in the machine's temporary folder; a job holds the locks of its devices until it ends.
Under SLURM the devices in CUDA_VISIBLE_DEVICES are the job's alone and nothing is locked.
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
    """The devices this process may use, as CUDA_VISIBLE_DEVICES names them; empty on a machine without any."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1", "NoDevFiles")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listing.stdout.split() if listing.returncode == 0 else []


def lock_folder() -> Path:
    """Where the lock files of this machine's devices are, one folder a user."""
    return Path(tempfile.gettempdir()) / f"reluformer-devices-{os.getuid()}"


@contextlib.contextmanager
def claim_devices(count: int, folder: Path | None = None) -> Iterator[list[str]]:
    """Waits for `count` free devices and holds them; yields their names, or an empty list where there are none.

    Args:
        count: devices wanted, one for each process.
        folder: where the lock files are; the machine's own folder by default.

    Raises:
        SettingsError: when the machine has some devices, but fewer than `count`.
    """
    devices = visible_devices()
    if devices and len(devices) < count:
        raise SettingsError(f"training.processes: {count}: this job may use only {len(devices)} device(s)")
    if not devices or "SLURM_JOB_ID" in os.environ:
        yield devices[:count]
        return
    folder = folder or lock_folder()
    folder.mkdir(parents=True, exist_ok=True)
    held = _wait_for(devices, count, folder)
    try:
        yield list(held)
    finally:
        for lock in held.values():
            lock.release()


def _wait_for(devices: list[str], count: int, folder: Path) -> dict[str, FileLock]:
    while True:
        # All or nothing, one job at a time: two jobs that want two devices each cannot end up with one each.
        with FileLock(folder / "claim.lock"):
            held: dict[str, FileLock] = {}
            for device in devices:
                lock = FileLock(folder / f"{device.replace('/', '_')}.lock", timeout=0)
                with contextlib.suppress(Timeout):
                    lock.acquire()
                    held[device] = lock
                if len(held) == count:
                    return held
            for lock in held.values():
                lock.release()
        time.sleep(POLL_SECONDS)
