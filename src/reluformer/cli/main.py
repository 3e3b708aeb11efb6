"""The entry point: runs a command and turns mistakes into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pwd
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

CLOSED_PIPE, LOST_OUTPUT, MISTAKE, INTERRUPTED = 1, 1, 2, 130
STREAM_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    A mistake, or a file that cannot be read or written, ends with one line and exit code 2; a failure to write to
    standard output with one line and 1; Ctrl-C with 130, as in a shell; a closed pipe silently with 1, as in typer.
    arguments: without the program's name; None: those of the process.
    """
    if arguments is None:
        prepare_process()
    try:
        if arguments is None:
            from reluformer.ops.process import end_with_starter, limit_caches

            end_with_starter()
            limit_caches()
        code = run(arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        discard(stream)
    sys.exit(code)


def prepare_process() -> None:
    """Makes this process and its children independent of how it was started: streams, encoding, path, user."""
    # Otherwise the first file that is opened would get the descriptor of a closed stream. These also fail when used.
    closed = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
    for descriptor, mode in closed.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free descriptor: this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # UTF-8 whatever the locale; escapes invalid characters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    os.environ["PYTHONSAFEPATH"] = "1"  # children must not import a user's tokenize.py for Python's own
    name_user()


def name_user() -> None:
    """Gives a user without a passwd entry (in a container) a name and a home, which libraries need."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"user{os.getuid()}")
        os.environ.setdefault("HOME", str(Path(tempfile.gettempdir()) / f"reluformer-{os.getuid()}"))


def discard(stream: TextIO | None) -> None:
    """Discards what a broken stream still buffers, so that Python does not fail at exit."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


def run(arguments: Sequence[str] | None) -> int:
    """Returns the exit code of a command line. Imports happen here, where Ctrl-C is handled."""
    from typer.exceptions import TyperException

    from reluformer.cli import models, results, steps, tools  # noqa: F401  they add commands
    from reluformer.cli.app import app
    from reluformer.config.settings import SettingsError

    chosen = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for number, argument in enumerate(chosen, 1):
        if not argument or (argument.startswith("--") and argument.endswith("=")):  # an empty path: this folder
            place = argument or (f"after {chosen[number - 2]}" if number > 1 else "the first")
            return mistake(f"argument {number} ({place}) is empty; is a shell variable not set?")
    try:
        code = app(chosen, prog_name="reluformer", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return CLOSED_PIPE
    except TyperException as error:
        return mistake(error.format_message(), getattr(error, "ctx", None))
    except SettingsError as error:
        return mistake(str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is None and error.errno in STREAM_FAULTS:  # errors of files have a file name
            mistake(f"standard input or output: {reason.lower()}")
            return LOST_OUTPUT
        return mistake(reason if error.filename is None else f"{error.filename}: {reason.lower()}")
    return code if isinstance(code, int) else 0


def mistake(message: str, context: object = None) -> int:
    """Prints one line on standard error, and returns the exit code; context: typer's, of the command."""
    line = " ".join(message.split())
    if context is not None:
        line = f"{line.rstrip('.')}; see {getattr(context, 'command_path', 'reluformer')} --help"
    with contextlib.suppress(OSError):
        print(f"reluformer: {line}", file=sys.stderr, flush=True)
    return MISTAKE
