"""The worker's side of calls: receives (function, arguments) and sends (traceback or "", result) until the end.

It runs in the peers' environment and imports none of our code. Its stdout goes to stderr.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answers calls; the program's first argument is the file descriptor of the connection."""
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("", functions[name](**arguments)))
        except Exception:
            connection.send((traceback.format_exc(), None))
