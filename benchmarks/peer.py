"""A peer in an environment of its own, called function by function, so that ours and theirs are measured in turns.

    with Peer("train_marian", threads=2) as marian:
        marian.call("build", shape=...)
        seconds = marian.call("update", index=0)

runs `benchmarks/peers/train_marian.py`, which serves the functions it names (see `benchmarks/peers/protocol.py`). The
environment is `.venv-peers`, which `make bench` installs; PEERS_VENV names another.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
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
    """A running worker `benchmarks/peers/NAME.py`; a context manager that ends it.

    python: of the environment that it runs in; by default the peers'.
    """

    def __init__(self, name: str, threads: int, python: Path | None = None) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if python or key != "PYTHONPATH"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        if python:  # ours, as the command line starts it
            limit_caches(environment)
        replies, reply_end = os.pipe()
        self._replies = os.fdopen(replies)
        self._process = subprocess.Popen(
            [python or peers_python(), WORKERS / f"{name}.py", str(reply_end)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=2,  # what a peer prints is no reply
            pass_fds=[reply_end],
            text=True,
        )
        os.close(reply_end)

    def call(self, function: str, **arguments: Any) -> Any:
        """Calls a function of the worker; arguments and result are JSON. Raises `PeerError`."""
        process = self._process
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"call": function, "with": arguments}) + "\n")
            process.stdin.flush()
            reply = json.loads(self._replies.readline() or "null")
        except BrokenPipeError:
            reply = None
        if reply is None:
            raise PeerError(f"{self.name}: ended with exit code {process.wait()} (its messages are above)")
        if "error" in reply:
            raise PeerError(f"{self.name}: {function}: {reply['error']}")
        return reply["result"]

    def peak_memory(self) -> float:
        """Returns the largest resident memory of the worker so far, MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # ends the worker
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._replies.close()
