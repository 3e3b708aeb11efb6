from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys

import pytest

from reluformer.memory.backends.cpu import SOURCE
from reluformer.ops import build, paths

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture
def fake_compiler(tmp_path, monkeypatch):
    """A slow compiler that records each call and writes its output file."""
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\necho call >> {tmp_path}/calls\nsleep 0.3\nfor last; do :; done\necho x > "$last"\n')
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CXX", str(script))
    return lambda: (tmp_path / "calls").read_text().count("call")


def test_compiles_once_for_concurrent_processes(fake_compiler, tmp_path):
    code = "import sys; from reluformer.ops.build import *; print(compiled(*map(Path, sys.argv[1:])))"
    command = [sys.executable, "-c", code, str(tmp_path / "cache"), str(SOURCE)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=600)[0] for process in running}
    assert len(paths) == 1 and fake_compiler() == 1
    assert not list((tmp_path / "cache").glob("*.part"))


def test_another_processor_or_source_gets_another_file(fake_compiler, tmp_path, monkeypatch):
    first = build.compiled(tmp_path, SOURCE)
    assert build.compiled(tmp_path, SOURCE) == first and fake_compiler() == 1
    monkeypatch.setattr(build, "processor", lambda: "another")
    second = build.compiled(tmp_path, SOURCE)
    changed = tmp_path / "changed.cpp"
    changed.write_text("// another")
    third = build.compiled(tmp_path, changed)
    header = tmp_path / "changed.hpp"
    header.write_text("// another")
    monkeypatch.setattr(build, "HEADERS", [header])
    assert len({first, second, third, build.compiled(tmp_path, changed)}) == 4


def test_another_compiler_compiles_again_and_without_one_the_existing_file_is_used(
    fake_compiler, tmp_path, monkeypatch
):
    first = build.compiled(tmp_path, SOURCE)
    monkeypatch.setenv("CXX", f"{os.environ['CXX']} -g")
    second = build.compiled(tmp_path, SOURCE)
    assert first != second and fake_compiler() == 2
    second.unlink()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OSError, match="no-such-compiler"):  # $CXX is explicit, so another compiler's output is not used
        build.compiled(tmp_path, SOURCE)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert build.compiled(tmp_path, SOURCE) == first
    changed = tmp_path / SOURCE.name
    changed.write_text("// another")
    with pytest.raises(FileNotFoundError, match="no C"):
        build.compiled(tmp_path, changed)


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler", "true"])
def test_without_a_working_compiler_there_is_no_library_and_one_warning(compiler, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("RELUFORMER_CACHE", str(tmp_path))
    paths.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert paths.library(SOURCE) is None and paths.library(SOURCE) is None
        assert len(caplog.records) == 1 and "\n" not in caplog.records[0].getMessage()
        assert not list(tmp_path.glob("*.part"))
    finally:
        paths.library.cache_clear()


def test_no_compiler_at_all(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no C"):
        build.compiled(tmp_path, SOURCE)


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("RELUFORMER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "reluformer"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))
    user = os.getuid()
    assert build.cache_folder() == tmp_path / f"reluformer-{user}"
    monkeypatch.setattr(build.os, "getuid", lambda: user + 1)
    (tmp_path / f"reluformer-{user + 1}").mkdir()
    with pytest.raises(PermissionError, match="another user"):
        build.cache_folder()
    monkeypatch.setenv("RELUFORMER_CACHE", str(tmp_path / "own"))
    assert build.cache_folder() == tmp_path / "own"


@needs_compiler
@pytest.mark.parametrize("source", sorted(build.INCLUDE.parent.rglob("*.cpp")), ids=lambda path: path.stem)
def test_a_kernel_compiles_without_warnings(source):
    command = ["g++", "-std=c++20", "-fopenmp", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{build.INCLUDE}"]
    assert subprocess.run([*command, source], capture_output=True, text=True).stderr == ""
