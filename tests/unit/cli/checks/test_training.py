from __future__ import annotations

import sys

import pytest

from reluformer.cli.checks import training
from reluformer.cli.checks.check import Ended

TWO = ["NVIDIA A100, 40960 MiB, 550.1", "NVIDIA A100, 40960 MiB, 550.1"]


@pytest.mark.parametrize(
    ("works", "listed", "hidden", "state", "words"),
    [
        ([True, True], TWO, None, "ok", "torch multiplies on 2"),
        ([], None, None, "missing", "no nvidia-smi"),
        ([], [], None, "warn", "nvidia-smi fails"),
        ([], TWO, None, "warn", "torch finds none"),
        ([], TWO, "", "warn", "hidden by CUDA_VISIBLE_DEVICES"),
        ([True, False], TWO, None, "warn", "install the torch that fits the driver"),
    ],
)
def test_what_driver_and_torch_say_together(monkeypatch, works, listed, hidden, state, words):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    check = training.gpus({"gpus": [{"name": "NVIDIA A100", "works": w} for w in works]}, listed)
    assert check.state == state and words in f"{check.found} {check.means} {check.mend}"
    assert not check.needed and bool(check.mend) == (state != "ok")


def test_a_broken_torch_is_needed_and_named(monkeypatch):
    monkeypatch.setattr(training, "PROBE", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    (check,) = training.torch_and_devices()
    assert check.state == "missing" and check.needed and "libcudart" in check.found


def test_processes_that_cannot_talk(monkeypatch):
    errors = "Traceback (most recent call last):\n  File x\nRuntimeError: gloo: no device\n\nroot cause: ...\n"
    monkeypatch.setattr(training, "run", lambda *_: Ended(1, "", errors))
    (check,) = training.two_processes(0)
    assert check.state == "missing" and check.needed and check.found == "RuntimeError: gloo: no device"
    assert "reluformer.training.self_test" in check.mend


def test_processes_that_hang(monkeypatch):
    monkeypatch.setattr(training, "TRIAL_SECONDS", 0.2)
    (check,) = training.two_processes(0)
    assert check.state == "missing" and check.found == f"{sys.executable}: no answer within 0 s"


@pytest.mark.parametrize(
    ("name", "error", "state"),
    [
        ("cpu", 1e-6, "ok"),
        ("triton", 1e-4, "ok"),
        ("tiled", 1e-6, "warn"),
        ("cpu", 0.5, "missing"),
        ("cpu", float("nan"), "missing"),
    ],
)
def test_the_kernel_is_read_once(name, error, state):
    check = training.kernel({"kernel": name, "kernel_error": error})
    assert check.state == state and check.needed == (state == "missing") and bool(check.mend) == (state != "ok")
