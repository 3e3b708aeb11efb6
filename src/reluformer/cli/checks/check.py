"""One finding about this machine, and commands that are bounded in time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

State = Literal["ok", "warn", "missing"]


class Check(NamedTuple):
    """One line of the examination.

    state: ok; warn: something is slower, or a part of it is not possible; missing: it is not there.
    found: what is there. means: what follows from it. mend: what to do about it, empty where nothing is to be done.
    needed: the demo cannot run while this is missing.
    """

    name: str
    state: State
    found: str
    means: str
    mend: str = ""
    needed: bool = False


class Ended(NamedTuple):
    """How a command ended; a code of None: it was not found, or took too long."""

    code: int | None
    output: str
    errors: str


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a command to its end, or kills it and all that it started after `seconds`; never raises."""
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Ended(None, "", f"{command[0]}: {error.strerror}")
    try:
        output, errors = process.communicate(timeout=seconds)
        return Ended(process.returncode, output, errors)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Ended(None, "", f"{command[0]}: no answer within {seconds:.0f} s")


def last_line(ended: Ended) -> str:
    """The last line that says something, for a person."""
    lines = [line.strip() for line in (ended.errors or ended.output).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {ended.code}"
