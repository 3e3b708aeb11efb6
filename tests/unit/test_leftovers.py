"""tests/leftovers.py: the children of a test process end with it, and its folder is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
START = """
import os, subprocess, sys, tempfile, time
sys.path.insert(0, sys.argv[1])
from tests import leftovers

leftovers.watch()
command = sys.argv[3:]
started = subprocess.Popen(command)
print(started.pid, tempfile.gettempdir(), int(leftovers.private_mounts), flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
os._exit(0)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")]


@pytest.fixture
def start():
    """`start(stay, *command)` runs a process that, like pytest, starts a command.

    Returns it, the command's process, its temporary folder, and whether it has private mounts.
    """
    starters = []

    def start(stay: bool, *command: str) -> tuple[subprocess.Popen[str], psutil.Process, Path, bool]:
        arguments = [str(ROOT), "stay" if stay else "leave", *command]
        starter = subprocess.Popen([sys.executable, "-c", START, *arguments], stdout=subprocess.PIPE, text=True)
        starters.append(starter)
        pid, folder, private = starter.stdout.readline().split()
        return starter, psutil.Process(int(pid)), Path(folder), private == "1"

    yield start
    for starter in starters:
        starter.kill()
        starter.wait()
        starter.stdout.close()


def is_removed(folder: Path) -> bool:
    end = time.monotonic() + 600
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by itself"])
def test_child_processes_end_and_the_folder_is_removed(start, number):
    starter, process, folder, _ = start(number is not None, "setsid", "sleep", "600")
    assert folder.is_dir()
    if number is not None:
        starter.send_signal(number)
    starter.wait(60)
    process.wait(60)
    assert is_removed(folder)


def test_the_processes_of_a_worker_end_with_the_run(start):
    """A worker is killed with the run; processes that only its own cleanup knows of end, too."""
    worker = [sys.executable, "-c", START, str(ROOT), "stay", "env", "-i", "setsid", "sleep", "600"]
    starter, process, folder, private = start(True, *worker)
    if not private:
        pytest.skip("needs the right to have mounts of its own")
    (sleep,) = started_by(process, "sleep")
    starter.kill()
    for each in (process, sleep):
        each.wait(60)
    assert is_removed(folder)


def started_by(process: psutil.Process, name: str) -> list[psutil.Process]:
    """Waits for a process to have children of this name; returns them."""
    end = time.monotonic() + 600
    while not (named := [child for child in process.children() if child.name() == name]) and time.monotonic() < end:
        time.sleep(0.02)
    return named


def test_processes_without_the_variable_are_recognised_by_their_mounts(start):
    starter, process, folder, private = start(True, "env", "-i", "setsid", "sleep", "600")
    if not private:
        pytest.skip("needs the right to have mounts of its own")
    starter.kill()
    process.wait(60)
    assert is_removed(folder)
