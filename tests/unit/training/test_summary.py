from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile

import pytest
import torch

from reluformer.config.settings import SettingsError
from reluformer.training import summary

JOB = """
import sys, time
from pathlib import Path
from reluformer.training import summary
summary.POLL_SECONDS = 0.02
folder = Path(sys.argv[1])
with summary.claim_devices(1) as claimed:
    for device in claimed:
        busy = folder / f"busy-{device}"
        busy.touch(exist_ok=False)  # fails where another job has the device
        time.sleep(0.05)
        busy.unlink()
        (folder / f"done-{device}-{time.monotonic_ns()}").touch()
"""


@pytest.fixture(autouse=True)
def no_slurm_and_no_other_locks(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.slow
def test_eight_jobs_never_share_one_of_two_devices(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path)}
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, tmp_path], env=environment) for _ in range(8)]
    assert [job.wait(600) for job in jobs] == [0] * 8
    assert len(list(tmp_path.glob("done-*"))) == 8


def test_devices_are_claimed_all_or_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with summary.claim_devices(2) as first_two:
        assert first_two == ["0", "1"]
        with summary.claim_devices(1) as last:
            assert last == ["2"]
    with summary.claim_devices(3) as all_three:
        assert all_three == ["0", "1", "2"]


def test_too_few_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SettingsError, match=r"processes: 2: this job may use only 1 device"):
        summary.claim_devices(2).__enter__()


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_no_devices(monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with summary.claim_devices(4) as none:
        assert none == []


def test_devices_assigned_by_slurm_are_not_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with summary.claim_devices(1) as first, summary.claim_devices(1) as second:
        assert first == second == ["0"]
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_nvidia_smi(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert summary.visible_devices() == []


def test_versions_and_hardware_are_recorded():
    versions = summary.versions()
    assert versions["python"] == platform.python_version() and versions["torch"] == torch.__version__
    hardware = summary.machine()
    assert hardware["cores"] >= 1 and hardware["cpu"] and platform.node() not in str(hardware)


def test_code_version_without_a_repository(monkeypatch):
    def fails(*_, **__):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fails)
    assert summary.code_version()


def test_an_enclosing_repository_is_ignored(monkeypatch, tmp_path):
    inner = tmp_path / "dotfiles" / "src" / "reluformer" / "training"
    inner.mkdir(parents=True)

    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "dotfiles")
    git("tag", "-a", "-m", "t", "v7")
    monkeypatch.setattr(summary, "__file__", str(inner / "summary.py"))
    assert "v7" not in summary.code_version()
    monkeypatch.setattr(summary, "__file__", str(tmp_path / "src" / "reluformer" / "training" / "summary.py"))
    assert summary.code_version() == "v7"
    monkeypatch.setenv("GIT_DIR", "/nonexistent")  # as in a git hook
    assert summary.code_version() == "v7"
