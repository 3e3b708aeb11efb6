"""What a machine has is asked of the programs themselves, which stand-ins on the PATH play here."""

from __future__ import annotations

import shutil

import pytest

from reluformer.cli.checks import programs


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
@pytest.mark.parametrize("check", [programs.compiler, programs.slurm, programs.latex, programs.chromium])
def test_a_bare_machine_lacks_it_and_learns_how_to_mend_it(check):
    found = check()
    assert found.state == "missing" and found.mend and found.means and not found.needed


def test_a_compiler_that_does_not_compile(bin):
    bin("g++", "echo 'a.cpp:1: fatal error: vector: No such file or directory' >&2; exit 1")
    check = programs.compiler()
    assert check.state == "warn" and "vector: No such file" in check.found and "apt install g++" in check.mend


def test_a_compiler_that_does(bin):
    bin("g++", 'case "$1" in -dumpversion) echo 13.1.0;; esac')
    check = programs.compiler()
    assert check.state == "ok" and check.found.endswith("g++ 13.1.0, ninja")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on this machine")
def test_the_real_compiler_takes_the_flags_of_the_kernels(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    assert programs.compiler().state == "ok"
    monkeypatch.setenv("CXX", "g++ --no-such-option")
    assert programs.compiler().state == "warn"


def test_slurm_whose_controller_is_down(bin):
    bin("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    assert programs.slurm().state == "warn" and "Unable to contact" in programs.slurm().found


def test_slurm_that_answers(bin):
    bin("sinfo", "echo 'gpu* 4 gpu:a100:4'; echo 'cpu 9 (null)'")
    assert programs.slurm().found == "partitions gpu*, cpu"


def test_fonts(tmp_path, monkeypatch):
    assert programs.fonts().state == "ok"
    (tmp_path / "matplotlibrc").write_text("font.family: No Such Font\n")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    assert programs.fonts().state == "missing" and "DejaVu" in programs.fonts().mend
