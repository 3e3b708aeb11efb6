from __future__ import annotations

import platform
import subprocess

import torch

from reluformer.training import summary


def test_says_what_decides_the_numbers():
    versions = summary.versions()
    assert versions["python"] == platform.python_version() and versions["torch"] == torch.__version__
    machine = summary.machine()
    assert machine["cores"] >= 1 and machine["cpu"] and platform.node() not in str(machine)


def test_code_version_without_a_repository(monkeypatch):
    def fails(*_, **__):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fails)
    assert summary.code_version()
