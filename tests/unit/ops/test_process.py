"""Child processes end with their starter, which the tests kill; processes keep freed memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap

import psutil
import pytest

from reluformer.ops.linear import AVAILABLE
from reluformer.ops.process import STARTER, end_with_starter, usable_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def start():
    """`start(code)` runs a starter whose `code` prints the PID of its child; returns both processes."""
    starters = []

    def start(code: str) -> tuple[subprocess.Popen[str], psutil.Process]:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        starters.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return starters[-1], psutil.Process(int(starters[-1].stdout.readline()))

    yield start
    for starter in starters:
        starter.kill()
        starter.wait()
        starter.stdout.close()


CHILD = """
import os, sys, time
from reluformer.ops.process import {function}
{function}()
print(os.getpid(), flush=True)
time.sleep(600)
"""
STARTED = """
import os, socket, subprocess, sys
os.environ["RELUFORMER_STARTER"] = f"{{os.getpid()}}@{{socket.gethostname()}}"
subprocess.run([{between}sys.executable, "-c", {child!r}])
"""


@pytest.mark.parametrize(
    ("function", "between"),
    [("die_with_parent", ""), ("end_with_starter", ""), ("end_with_starter", "'timeout', '600', ")],
    ids=["the parent's death kills", "the starter's end ends", "also where it is not the parent"],
)
def test_a_child_ends_with_its_starter(start, function, between):
    starter, child = start(STARTED.format(between=between, child=CHILD.format(function=function)))
    assert child.is_running()
    starter.kill()
    starter.wait()
    child.wait(600)


def test_a_multiprocessing_child_dies_with_the_main_process(start, tmp_path):
    (tmp_path / "child.py").write_text(
        f"def main():\n{textwrap.indent(CHILD, '    ')}".format(function="die_with_main_process")
    )
    starter, child = start(
        f"""
        import multiprocessing, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from child import main
        process = multiprocessing.get_context("forkserver").Process(target=main)
        process.start()
        process.join()
        """
    )
    assert child.ppid() != starter.pid  # its parent is the fork server
    starter.kill()
    starter.wait()
    child.wait(600)


@pytest.fixture
def sent_signals(monkeypatch):
    """The signals that this process sent."""
    sent = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append((pid, number)))
    return sent


def test_a_starter_that_has_already_ended(sent_signals, monkeypatch):
    finished = subprocess.Popen(["true"])
    finished.wait()
    monkeypatch.setenv(STARTER, f"{finished.pid}@{socket.gethostname()}")
    end_with_starter()
    assert sent_signals == [(os.getpid(), signal.SIGTERM)]


@pytest.mark.parametrize("starter", [None, f"{2**22 + 1}@another-host"])
def test_without_a_starter_on_this_host_nothing_happens(starter, sent_signals, monkeypatch):
    monkeypatch.delenv(STARTER, raising=False)
    if starter:
        monkeypatch.setenv(STARTER, starter)
    end_with_starter()
    assert sent_signals == []


FAULTS = """
import resource
from reluformer.ops.process import keep_freed_memory
keep_freed_memory()
def use():
    for _ in range(5):
        b"x" * (1 << 26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-use() + use())
"""


def faults(code: str) -> int:
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_freed_memory_stays_without_page_faults():
    """Touches 64 MiB, more than malloc keeps by default, five times: 16,384 page faults each if it was returned."""
    given_back = faults(FAULTS.replace("\nkeep_freed_memory()", ""))
    assert given_back > 5 * 16_000
    assert faults(FAULTS) < given_back / 4


SPLINTERS = """
import psutil
from reluformer.ops.process import keep_freed_memory, return_freed_memory
keep_freed_memory()
def held():
    return psutil.Process().memory_info().rss >> 20
before = held()
blocks = [bytearray(b"x") * (1 << 20) for _ in range(64)]
last = bytearray(b"x") * (1 << 20)  # above the others, so that glibc can't shrink the heap
del blocks
freed = held()
return_freed_memory()
print(freed - before, held() - before)
"""


def test_freed_memory_is_returned_on_request():
    run = subprocess.run([sys.executable, "-c", SPLINTERS], capture_output=True, text=True, check=True)
    freed, returned = map(int, run.stdout.split())
    assert freed >= 64 and returned < 16


SHAPES = """
from reluformer.ops.process import limit_caches
limit_caches()
import psutil, torch
x, weight = torch.randn(1000, 256), torch.randn(768, 256)
def held():
    return psutil.Process().memory_info().rss >> 20
torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
before = held()
for rows in range(700, 1000):
    torch.ops.mkldnn._linear_pointwise(x[:rows], weight, None, "none", [], "")
print(held() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not AVAILABLE, reason="torch is built without oneDNN")
def test_products_of_many_shapes_do_not_fill_the_memory(monkeypatch):
    """300 products of 2 to 3 MB each, nearly all of which oneDNN would keep by default (800 MiB)."""
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(variable, raising=False)
    ended = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 300


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
