"""Where the command line starts: all commands, and what becomes of a mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from typer.exceptions import TyperException

from reluformer.cli.app import app
from reluformer.settings import SettingsError

CLOSED_PIPE, MISTAKE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    arguments: without the program's name; none: those of the process. A person's mistake and what the system refuses
    (a file that cannot be written) end as one line and exit code 2, Ctrl-C with 130 as the shell has it, and a closed
    pipe quietly with 1, as typer has it.
    """
    try:
        sys.exit(run(arguments))
    except (SettingsError, TyperException, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            sys.exit(CLOSED_PIPE)
        print(f"reluformer: {' '.join(told(error).split())}", file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def run(arguments: Sequence[str] | None) -> int:
    """The exit code of a command line that is right; everything else is raised."""
    from reluformer.cli import doctor, look, paper, people, plan, steps, watch  # noqa: F401  they add commands

    chosen = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    code = app(chosen, prog_name="reluformer", standalone_mode=False)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def told(error: SettingsError | TyperException | OSError) -> str:
    """An error in words, with the file or the command that it is about."""
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        if context is None:
            return error.format_message()
        return f"{error.format_message().rstrip('.')}; see {context.command_path} --help"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)
