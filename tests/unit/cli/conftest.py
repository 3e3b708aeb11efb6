"""The command line, run as users do."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import NamedTuple

import pytest


@pytest.fixture
def run(warm_python):
    """Runs `reluformer ARGUMENTS` in a separate process; keyword arguments go to `subprocess.run`."""

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        command = [warm_python, "-m", "reluformer.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, **options)

    return run


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capfdbinary):
    """Runs `reluformer ARGUMENTS` in this process: `command("translate", run, stdin="text")`."""
    from reluformer.cli.main import main

    def command(*arguments: object, stdin: str | bytes = b"") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Result(exit.value.code, out.decode(), err.decode())

    return command
