"""Workers that serve one call per line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks import peer
from benchmarks.peer import Peer, PeerError, peers_python

WORKER = """
import os
from protocol import serve

def add(a, b):
    print("noise on stdout")
    return a + b

threads = os.environ["OMP_NUM_THREADS"]
serve({"add": add, "fail": lambda: 1 / 0, "leave": lambda: os._exit(3), "threads": lambda: threads})
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(WORKER)
    (tmp_path / "protocol.py").write_text((peer.WORKERS / "protocol.py").read_text())
    monkeypatch.setattr(peer, "WORKERS", tmp_path)
    with Peer("toy", threads=2, python=Path(sys.executable)) as toy:
        yield toy


def test_a_worker_answers_call_after_call_whatever_it_prints(worker):
    assert worker.call("add", a=1, b=2) == 3
    assert worker.call("add", a=[1], b=[2]) == [1, 2]
    assert worker.call("threads") == "2"


def test_a_failure_is_raised_with_its_traceback_and_the_worker_continues(worker):
    with pytest.raises(PeerError, match=r"(?s)toy: fail: .*ZeroDivisionError"):
        worker.call("fail")
    assert worker.call("add", a=1, b=1) == 2


def test_a_worker_that_ends_is_an_error(worker):
    with pytest.raises(PeerError, match="exit code 3"):
        worker.call("leave")


def test_a_missing_environment_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PEERS_VENV", str(tmp_path))
    with pytest.raises(PeerError, match="make bench"):
        peers_python()
