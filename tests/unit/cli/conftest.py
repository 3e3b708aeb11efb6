"""The command line as a person runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def run():
    """Runs `reluformer ARGUMENTS` in a process of its own; keyword arguments go to `subprocess.run`."""

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "reluformer.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    return run
