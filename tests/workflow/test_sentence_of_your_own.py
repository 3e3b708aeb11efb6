"""Runs the commands of README's section "A sentence of your own" in a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reluformer.ops.build import cache_folder

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def home(trained, tmp_path, warm_python):
    """A clone that looks as after `make demo` to these commands; its models are of other languages."""
    for run in (trained.run, trained.other):
        shutil.copytree(run, tmp_path / "results" / "runs" / "demo-sentences" / run.parent.name / "seed1")
    (tmp_path / "results" / "corpora").symlink_to(trained.corpora)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    (programs / "reluformer").write_text(f'#!/bin/sh\nexec "{warm_python}" -P -m reluformer.cli "$@"\n')
    (programs / "reluformer").chmod(0o755)
    return tmp_path


def test_readmes_commands_end_in_a_translation(home):
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## A sentence of your own")[2]
    commands = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)[1]
    assert commands.count("\nreluformer ") == 3 and "| reluformer translate" in commands
    own = {"COLUMNS": "100", "PYTHONPATH": str(ROOT / "src"), "HOME": str(home)}
    environment = {**os.environ, **own, "RELUFORMER_CACHE": str(cache_folder())}
    shell = ["sh", "-e", "-c", commands]
    result = subprocess.run(shell, cwd=home, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    translated, *rest = result.stdout.splitlines()
    assert translated.endswith(".") and rest[0].endswith(".")  # nonsense: the models are of other languages
    assert rest[1] == "cross-attention, layer 2, mean over heads"
    assert rest[-2:] == ["compare.html", "my-model"]
    assert (home / "compare.html").is_file() and (home / "my-model" / "model.safetensors").is_file()
    again = subprocess.run(
        ["sh", "-c", ". .venv/bin/activate; echo Yksi kaksi . | reluformer translate my-model"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0 and again.stdout.count("\n") == 1
