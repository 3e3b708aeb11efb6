"""A Python that has imported the libraries: tests start `python -m MODULE` by a fork of it, not by seconds of imports.

    the executable (`start` writes it; it stands in for sys.executable) ─ arguments, environment, streams ─▶ server
                                                                                                    └─ fork: the module

Libraries only: this package is imported by each start. Linux only; not beside a GPU, which no fork may use.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

LIBRARIES = (
    *("deepspeed", "matplotlib.axes", "numpy", "pandas", "pydantic", "rich.console", "sacrebleu", "sacremoses"),
    *("safetensors", "scipy.special", "sentencepiece", "snakemake.cli", "torch", "typer", "yaml"),
)
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SECONDS = 120
"""How long a start waits for the server to listen."""


def start(folder: str) -> str:
    """Starts a server, which tests/leftovers.py ends with this process; returns the executable, or Python's own."""
    import subprocess
    from pathlib import Path

    executable, address = Path(folder, "python"), Path(folder, "socket")
    if not hasattr(os, "pidfd_open") or Path("/dev/nvidiactl").exists() or len(os.fsencode(address)) > 100:
        return sys.executable
    executable.write_text(
        f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import warm\nwarm.client({sys.executable!r}, {str(address)!r})\n"
    )
    executable.chmod(0o755)
    command = [sys.executable, "-P", __file__, str(executable), str(address)]
    with Path(folder, "log").open("wb") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return str(executable)


def client(python: str, address: str) -> None:
    """Has the server run `-m MODULE ...`, passes signals on, ends as the module does; `python` runs anything else."""
    options = sys.argv[1 : sys.argv.index("-m")] if "-m" in sys.argv else ["-c"]
    if not {"-P", "-u"}.issuperset(options):
        os.execv(python, [python, *sys.argv[1:]])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with socket.socket(socket.AF_UNIX) as server:
        end = time.monotonic() + SECONDS
        while server.connect_ex(address):
            if time.monotonic() > end:
                os.execv(python, [python, *sys.argv[1:]])
            time.sleep(0.02)
        request = {
            "arguments": sys.argv[len(options) + 2 :],
            "folder": os.getcwd(),  # noqa: PTH109  this file imports little: each start does it
            "environment": dict(os.environ),
            "group": os.getpgrp(),
            "safe": "-P" in options or "PYTHONSAFEPATH" in os.environ,
            "ignored": [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN],
        }
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        answers = server.makefile("rw", encoding="utf-8")
        answers.write(json.dumps(request) + "\n")
        answers.flush()
        pid = int(answers.readline())
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(executable: str, address: str) -> NoReturn:
    """Imports the libraries and forks for every connection."""
    import gc
    import importlib

    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    sys.executable = executable
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(connection)
            connection.close()


def attend(connection: socket.socket) -> NoReturn:
    """Forks the module's process, reports its end, and kills it if the client is gone first."""
    import select

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    stream = connection.makefile("rw", encoding="utf-8")
    request = json.loads(stream.readline())
    if (pid := os.fork()) == 0:
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        connection.detach()
        run(request)
    with contextlib.suppress(OSError):
        stream.write(f"{pid}\n")
        stream.flush()
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLRDHUP)
    if ended not in dict(poll.poll()):
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        stream.write(f"{code}\n")
        stream.flush()
    os._exit(0)


def search_path() -> list[str]:
    """Returns the folders of PYTHONPATH."""
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def run(request: dict[str, Any]) -> NoReturn:
    """Is `python -m MODULE ...` from here on."""
    import atexit
    import runpy
    import tempfile
    import threading
    import traceback

    with contextlib.suppress(OSError):
        os.setpgid(0, request["group"])
    os.chdir(request["folder"])
    before = search_path()
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = search_path() + [entry for entry in sys.path if entry not in before]
    for number in PASSED_ON:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    tempfile.tempdir = None
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    sys.path[:0] = [] if request["safe"] else [request["folder"]]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    code: str | int | None = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
