"""The worker's side: one JSON line in, `{"call": NAME, "with": {...}}`, one out, `{"result": ...}` or `{"error": ...}`.

It runs in the peers' environment and imports nothing of ours. Its stdout is stderr.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answers calls until stdin ends; the first argument is the file descriptor of the answers."""
    replies = os.fdopen(int(sys.argv[1]), "w")
    for line in sys.stdin:
        call = json.loads(line)
        try:
            reply = {"result": functions[call["call"]](**call["with"])}
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
