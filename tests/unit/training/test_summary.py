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


def test_a_repository_around_this_one_says_nothing(monkeypatch, tmp_path):
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
    monkeypatch.setenv("GIT_DIR", "/nonexistent")  # as in a hook of git's
    assert summary.code_version() == "v7"
