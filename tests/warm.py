"""A preloaded Python: tests start `python -m MODULE` as a fork of a process that has imported the libraries.

    the executable (`start` writes it; it stands in for sys.executable) ─ arguments, environment, streams ─▶ server
                                                                                                    └─ fork: the module

Compared with importing everything, a fork saves a tenth of a second for a command and three seconds for a training. If
the environment names another copy of the package, the fork imports that one. Linux only, and not on a machine with a
GPU: forks cannot use it.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import time

# `socket` takes as long to import as Python to start.
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from errno import ECONNREFUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MODULES = (
    *("deepspeed", "fontTools.subset", "jinja2", "matplotlib.axes", "matplotlib.backends.backend_agg"),
    *("matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "numpy", "pandas", "pydantic"),
    *("rich.console", "sacrebleu", "sacremoses", "safetensors", "scipy.special", "sentencepiece", "snakemake.cli"),
    *("snakemake.profiles", "snakemake.report.html_reporter", "snakemake.storage", "torch.distributed.run", "typer"),
    *("reluformer.analysis.step", "reluformer.benchmark.study", "reluformer.cli.main", "reluformer.cli.models"),
    *("reluformer.cli.costs", "reluformer.cli.results", "reluformer.cli.steps", "reluformer.cli.tools"),
    *("reluformer.cli.watching", "reluformer.corpus.fetch", "reluformer.corpus.prepare", "reluformer.paper.claims"),
    *("reluformer.paper.index", "reluformer.paper.record", "reluformer.paper.study", "reluformer.training.launch"),
    *("reluformer.training.loop", "reluformer.translation.step"),
)
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SECONDS = 120
"""How long a client waits for the server to listen."""
MESSAGE = 1 << 17
"""Maximum size of a request in bytes; the socket limits messages to it."""


def start(folder: str) -> str:
    """Starts a server, which tests/leftovers.py ends with this process; returns the client's executable.

    Returns `sys.executable` if forking is not supported here.
    """
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
    """Has the server run `-m MODULE ...`, forwards signals and exits like it; `python` runs everything else."""
    options = sys.argv[1 : sys.argv.index("-m")] if "-m" in sys.argv else ["-c"]
    if not {"-P", "-u"}.issuperset(options):
        os.execv(python, [python, *sys.argv[1:]])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    server = socket(AF_UNIX, SOCK_SEQPACKET)
    end = time.monotonic() + SECONDS
    while error := server.connect_ex(address):
        if error == ECONNREFUSED or time.monotonic() > end:  # the server has ended, or takes too long to start
            os.execv(python, [python, *sys.argv[1:]])
        time.sleep(0.02)
    request = {
        "arguments": sys.argv[len(options) + 2 :],
        "folder": os.getcwd(),  # noqa: PTH109  few imports: every start pays for them
        "environment": dict(os.environ),
        "group": os.getpgrp(),
        "pid": os.getpid(),
        "safe": "-P" in options or "PYTHONSAFEPATH" in os.environ,
        "ignored": [int(number) for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN],
    }
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    server.sendmsg([marshal.dumps(request)], [(SOL_SOCKET, SCM_RIGHTS, streams)])
    pid = int(server.recv(64))
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = int(server.recv(64))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(executable: str, address: str) -> NoReturn:
    """Imports the modules and forks for every connection: sends the fork's process ID, then its exit code.

    Kills a fork whose client disconnects.
    """
    import gc
    import importlib
    import selectors
    from contextlib import suppress
    from socket import AF_UNIX, SOCK_SEQPACKET, recv_fds, socket

    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    sys.executable = executable
    listener, events = socket(AF_UNIX, SOCK_SEQPACKET), selectors.DefaultSelector()
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)  # noqa: PTH104  clients can connect from here on
    events.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is listener:
                events.register(listener.accept()[0], selectors.EVENT_READ)
            elif key.data is None:  # a client sent its request or disconnected
                connection = key.fileobj
                events.unregister(connection)
                message, streams, _, _ = recv_fds(connection, MESSAGE, 3)
                if not message:
                    connection.close()
                    continue
                pid = fork(message, streams)
                ended = os.pidfd_open(pid)
                with suppress(OSError):
                    connection.sendall(b"%d" % pid)
                for each in (connection, ended):
                    events.register(each, selectors.EVENT_READ, (pid, ended, connection))
            elif key.fileobj is key.data[1]:
                pid, ended, connection = key.data
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError):
                    connection.sendall(b"%d" % code)
                with suppress(KeyError):
                    events.unregister(connection)
                connection.close()
                events.unregister(ended)
                os.close(ended)
            elif key.fileobj.fileno() >= 0:  # the client has disconnected
                events.unregister(key.fileobj)
                os.kill(key.data[0], signal.SIGKILL)


def fork(message: bytes, streams: list[int]) -> int:
    """Forks to serve a client's request; returns the process ID of the fork."""
    if (pid := os.fork()) == 0:
        try:
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            os.closerange(3, 1 << 16)
            run(marshal.loads(message))
        finally:
            os._exit(1)
    for descriptor in streams:
        os.close(descriptor)
    return pid


def enter_mounts(pid: int) -> None:
    """Enters the mount namespace of a process; without the permission, both share one anyway."""
    import ctypes

    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    ctypes.CDLL(None).setns(namespace, 0)
    os.close(namespace)


def search_path() -> list[str]:
    """Returns the folders of PYTHONPATH."""
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def run(request: dict[str, Any]) -> NoReturn:
    """Turns this process into `python -m MODULE ...`."""
    import atexit
    import runpy
    import tempfile
    import threading
    import traceback
    from contextlib import suppress
    from importlib.machinery import PathFinder

    with suppress(OSError):
        os.setpgid(0, request["group"])
    enter_mounts(request["pid"])
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
    package = PathFinder.find_spec("reluformer")
    imported = [name for name in sys.modules if name.partition(".")[0] == "reluformer"]
    if package is not None and imported and package.origin != sys.modules["reluformer"].__file__:
        for name in imported:
            del sys.modules[name]
    if not hasattr(sys.modules.get(module), "__path__"):
        sys.modules.pop(module, None)
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
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
