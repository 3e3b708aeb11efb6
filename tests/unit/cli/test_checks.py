"""The checks of `reluformer doctor`; stand-ins on the PATH imitate the programs of other machines."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest
from rich.console import Console

from reluformer.cli import checks
from reluformer.cli.checks import Check, Ended, demo_can_run, run, show


def test_a_missing_command():
    ended = run(["no-such-command"], 5)
    assert ended.code is None and ended.last_line == "no-such-command: No such file or directory"


def test_a_command_that_hangs_is_killed_with_its_children():
    ended = run(["sh", "-c", "sleep 3600 & sleep 3600"], 0.3)
    assert ended.code is None and "no answer within" in ended.last_line


def test_the_output_of_a_command():
    ended = run([sys.executable, "-c", "import sys; print(1); sys.exit('first\\nlast\\n')"], 600)
    assert ended.code == 1 and ended.output == "1\n" and ended.last_line == "last"


GOOD = Check("torch", "ok", "2.13", "everything", "nothing to fix")
OPTIONAL = Check("compiler", "missing", "no g++ [on] PATH", "slower", "apt install g++")
NEEDED = Check("memory", "missing", "1 GB", "too little", "buy some", needed=True)


def test_only_what_is_needed_keeps_the_demo_from_running():
    assert demo_can_run([GOOD, OPTIONAL]) and not demo_can_run([GOOD, NEEDED])


def test_each_line_says_its_state_and_how_to_fix_it():
    console = Console(file=io.StringIO(), width=60)
    show([GOOD, OPTIONAL, NEEDED], console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].split() == ["ok", "torch", "2.13:", "everything"]
    assert lines[1].endswith("no g++ [on] PATH: slower") and lines[2].strip() == "fix: apt install g++"
    assert lines[-1] == "1 ok, 0 warn, 2 missing; the demo cannot run here yet"


@pytest.fixture
def bin(tmp_path, monkeypatch):
    """A PATH with nothing on it; `bin(name, script)` adds a program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    def add(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return add


@pytest.mark.usefixtures("bin")
@pytest.mark.parametrize("check", [checks.compiler, checks.slurm])
def test_a_bare_machine_is_told_how_to_fix_what_it_lacks(check):
    result = check()
    assert result.state == "missing" and result.fix and result.effect and not result.needed


def test_a_compiler_that_does_not_compile(bin):
    bin("g++", "echo 'a.cpp:1: fatal error: vector: No such file or directory' >&2; exit 1")
    check = checks.compiler()
    assert check.state == "warn" and "vector: No such file" in check.detail and "apt install g++" in check.fix


def test_a_compiler_that_compiles(bin):
    bin("g++", "exit 0")
    check = checks.compiler()
    assert check.state == "ok" and check.detail.endswith("g++, ninja")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on this machine")
def test_the_real_compiler_takes_the_flags_of_the_kernels(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    assert checks.compiler().state == "ok"
    monkeypatch.setenv("CXX", "g++ --no-such-option")
    assert checks.compiler().state == "warn"


def test_slurm_whose_controller_is_down(bin):
    bin("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    assert checks.slurm().state == "warn" and "Unable to contact" in checks.slurm().detail


def test_slurm_that_answers(bin):
    bin("sinfo", "echo 'gpu* 4 gpu:a100:4'; echo 'cpu 9 (null)'")
    assert checks.slurm().detail == "partitions gpu*, cpu"


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
def test_the_gpu_check_combines_driver_and_torch(monkeypatch, works, listed, hidden, state, words):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    check = checks.gpu({"gpus": [{"name": "NVIDIA A100", "works": w} for w in works]}, listed)
    assert check.state == state and words in f"{check.detail} {check.effect} {check.fix}"
    assert not check.needed and bool(check.fix) == (state != "ok")


def test_a_broken_torch_is_needed_and_named(monkeypatch):
    monkeypatch.setattr(checks, "PROBE", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    (check,) = checks.torch_and_gpus()
    assert check.state == "missing" and check.needed and "libcudart" in check.detail


def test_processes_that_cannot_talk(monkeypatch):
    errors = "Traceback (most recent call last):\n  File x\nRuntimeError: gloo: no device\n\nroot cause: ...\n"
    monkeypatch.setattr(checks, "run", lambda *_: Ended(1, "", errors))
    (check,) = checks.two_processes(0)
    assert check.state == "missing" and check.needed and check.detail == "RuntimeError: gloo: no device"
    assert "reluformer.training.self_test" in check.fix


def test_processes_that_hang(monkeypatch):
    monkeypatch.setattr(checks, "TRAINING_SECONDS", 0.2)
    (check,) = checks.two_processes(0)
    assert check.state == "missing" and check.detail == f"{sys.executable}: no answer within 0 s"


def test_each_fast_path_gets_a_verdict(monkeypatch):
    about = {"what": "ReLU attention in C++", "fallback": "tiles in plain torch"}
    lines = [{"path": "cpu", "device": "cpu", **about, "reason": reason} for reason in (None, "killed by SIGILL")]
    output = "".join(f"{json.dumps(line)}\n" for line in lines)
    monkeypatch.setattr(checks, "run", lambda *_: Ended(0, output, ""))
    passed, failed = checks.fast_paths()
    assert passed.state == "ok" and passed.name == "cpu (cpu)" and "equals its reference" in passed.effect
    assert failed.state == "warn" and "killed by SIGILL" in failed.detail and "tiles in plain torch" in failed.effect
    assert failed.fix and not failed.needed
    monkeypatch.setattr(checks, "run", lambda *_: Ended(1, "", "ImportError: libcudart.so.13"))
    (broken,) = checks.fast_paths()
    assert broken.state == "warn" and "libcudart" in broken.detail
