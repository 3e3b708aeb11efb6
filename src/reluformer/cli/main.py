"""Where the command line starts: all commands, and what becomes of a mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

CLOSED_PIPE, MISTAKE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    arguments: without the program's name; none: those of the process. A person's mistake and what the system refuses
    (a file that cannot be written) end as one line and exit code 2, Ctrl-C with 130 as the shell has it, and a closed
    pipe quietly with 1, as typer has it.
    """
    if arguments is None:
        os.environ["PYTHONSAFEPATH"] = "1"  # what it starts shall not take a user's tokenize.py for Python's own
    try:
        if arguments is None:
            from reluformer.orphans import end_with_starter

            end_with_starter()
        sys.exit(run(arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def run(arguments: Sequence[str] | None) -> int:
    """The exit code of a command line. Everything is imported in here, where Ctrl-C ends it quietly."""
    from typer.exceptions import TyperException

    from reluformer.cli import archive, doctor, look, measure, paper, people, plan, steps, watch  # noqa: F401  they add commands
    from reluformer.cli.app import app
    from reluformer.settings import SettingsError

    chosen = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(chosen, prog_name="reluformer", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return CLOSED_PIPE
    except TyperException as error:
        return mistake(error.format_message(), getattr(error, "ctx", None))
    except SettingsError as error:
        return mistake(str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        return mistake(reason if error.filename is None else f"{error.filename}: {reason.lower()}")
    return code if isinstance(code, int) else 0


def mistake(message: str, context: object = None) -> int:
    """Says on one line of standard error what is wrong; context: typer's, of the command that was misused."""
    line = " ".join(message.split())
    if context is not None:
        line = f"{line.rstrip('.')}; see {getattr(context, 'command_path', 'reluformer')} --help"
    print(f"reluformer: {line}", file=sys.stderr)
    return MISTAKE
