"""Calls the functions of a peer in its own environment, so that ours and theirs are measured in turns.

    with Peer("train_marian", threads=2) as marian:
        marian.call("build", shape=...)
        seconds = marian.call("update", index=0)

runs `benchmarks/peers/train_marian.py`, which serves these functions (see `benchmarks/peers/protocol.py`). The
environment is `.venv-peers`, which `make bench` installs; PEERS_VENV names another one.
"""

from __future__ import annotations

import os
import re
import subprocess
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT
from reluformer.ops.process import limit_caches

WORKERS = Path(__file__).parent / "peers"


class PeerError(RuntimeError):
    """The peers' environment is missing, or a peer failed; the message is its traceback."""


def peers_python() -> Path:
    """Returns the Python of the peers' environment. Raises `PeerError` if it does not exist."""
    python = Path(os.environ.get("PEERS_VENV", ROOT / ".venv-peers")) / "bin" / "python"
    if not python.is_file():
        raise PeerError(f"{python}: missing: `make bench` installs the peers; PEERS_VENV names another environment")
    return python


class Peer:
    """A running worker `benchmarks/peers/NAME.py`; as a context manager, it stops the worker on exit.

    python: the interpreter that runs it; by default that of the peers' environment.
    """

    def __init__(self, name: str, threads: int, python: Path | None = None) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if python or key != "PYTHONPATH"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        if python:  # ours, with the environment that the command line sets
            limit_caches(environment)
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [python or peers_python(), WORKERS / f"{name}.py", str(theirs.fileno())],
            env=environment,
            stdout=2,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def call(self, function: str, **arguments: Any) -> Any:
        """Calls a function of the worker. Raises `PeerError`."""
        try:
            self._connection.send((function, arguments))
            error, result = self._connection.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            raise PeerError(f"{self.name}: ended with exit code {code} (its messages are above)") from None
        if error:
            raise PeerError(f"{self.name}: {function}: {error}")
        return result

    def peak_memory(self) -> float:
        """Returns the largest resident memory of the worker so far, MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # ends the worker
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
