"""tests/warm.py: the server outlives its clients, and without it Python itself is started."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm

HELLO = ["-P", "-m", "calendar", "-t", "text", "2023", "2"]


def connect(address):
    """Connects to a server and disconnects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(address))


def test_a_client_that_disconnects_before_its_request_is_harmless(warm_python):
    if warm_python == sys.executable:
        pytest.skip("there is no server without xdist, and none beside a GPU")
    for _ in range(2):
        started = subprocess.run([warm_python, *HELLO], capture_output=True, text=True, check=True)
        assert started.stdout.split()[:2] == ["February", "2023"]
        connect(Path(warm_python).with_name("socket"))  # refused if the server has ended


def test_without_its_server_python_itself_is_started(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(subprocess, "Popen", lambda *_, **__: None)
        executable = warm.start(str(tmp_path))
    if executable == sys.executable:
        pytest.skip("there are no servers here")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(tmp_path / "socket"))
    started = subprocess.run([executable, *HELLO], capture_output=True, text=True, check=True)
    assert started.stdout.split()[:2] == ["February", "2023"]
