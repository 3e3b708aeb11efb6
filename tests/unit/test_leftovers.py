"""tests/leftovers.py: what a process of the tests started ends with it, and its folder goes."""

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
    """`start(stay, *command)`: a process like pytest that started a command; it, the command's process, its folder."""
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


def gone(folder: Path) -> bool:
    end = time.monotonic() + 600
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by itself"])
def test_what_was_started_ends_and_the_folder_goes(start, number):
    starter, process, folder, _ = start(number is not None, "setsid", "sleep", "600")
    assert folder.is_dir()
    if number is not None:
        starter.send_signal(number)
    starter.wait(60)
    process.wait(60)
    assert gone(folder)


def test_the_processes_of_a_worker_end_with_the_run(start):
    """A worker is killed with the run, and what only the worker's own clearing up knows ends as well."""
    worker = [sys.executable, "-c", START, str(ROOT), "stay", "env", "-i", "setsid", "sleep", "600"]
    starter, process, folder, private = start(True, *worker)
    if not private:
        pytest.skip("needs the right to have mounts of its own")
    (sleep,) = started_by(process, "sleep")
    starter.kill()
    for each in (process, sleep):
        each.wait(60)
    assert gone(folder)


def started_by(process: psutil.Process, name: str) -> list[psutil.Process]:
    """The children of a process that have this name, once there are any."""
    end = time.monotonic() + 600
    while not (named := [child for child in process.children() if child.name() == name]) and time.monotonic() < end:
        time.sleep(0.02)
    return named


def test_processes_that_forgot_their_environment_are_known_by_their_mounts(start):
    starter, process, folder, private = start(True, "env", "-i", "setsid", "sleep", "600")
    if not private:
        pytest.skip("needs the right to have mounts of its own")
    starter.kill()
    process.wait(60)
    assert gone(folder)
