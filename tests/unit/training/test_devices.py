from __future__ import annotations

import subprocess
import sys
import time

import pytest

from reluformer.settings import SettingsError
from reluformer.training import devices

JOB = """
import sys, time
from pathlib import Path
from reluformer.training.devices import claim_devices
folder = Path(sys.argv[1])
with claim_devices(1, folder / "locks") as claimed:
    for device in claimed:
        busy = folder / f"busy-{device}"
        busy.touch(exist_ok=False)  # fails where another job has the device
        time.sleep(0.05)
        busy.unlink()
        (folder / f"done-{device}-{time.monotonic_ns()}").touch()
"""


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def test_twenty_jobs_never_share_one_of_two_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab/1")
    monkeypatch.setattr(devices, "POLL_SECONDS", 0.01)
    jobs = [
        subprocess.Popen([sys.executable, "-c", JOB.replace("GPU-ab/1", "GPU-ab"), tmp_path], env=_environment())
        for _ in range(20)
    ]
    assert [job.wait(60) for job in jobs] == [0] * 20
    assert len(list(tmp_path.glob("done-*"))) == 20


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1"}


def test_all_or_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with devices.claim_devices(2, tmp_path) as two:
        assert two == ["0", "1"]
        with devices.claim_devices(1, tmp_path) as one:
            assert one == ["2"]
    with devices.claim_devices(3, tmp_path) as three:
        assert three == ["0", "1", "2"]


def test_too_few_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SettingsError, match=r"training.processes: 2: this job may use only 1 device"), _claim(2):
        pass


def _claim(count):
    return devices.claim_devices(count)


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_no_devices(monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with devices.claim_devices(4) as none:
        assert none == []


def test_slurm_has_given_the_devices_already(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    began = time.monotonic()
    with devices.claim_devices(1, tmp_path) as one, devices.claim_devices(1, tmp_path) as same:
        assert one == same == ["0"]
    assert time.monotonic() - began < 1 and list(tmp_path.iterdir()) == []


def test_a_machine_without_nvidia_smi(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert devices.visible_devices() == []
