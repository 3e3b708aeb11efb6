"""The worker's side: one JSON line in, `{"call": NAME, "with": {...}}`, one out, `{"result": ...}` or `{"error": ...}`.

It runs in the peers' environment and imports nothing of ours. Whatever a peer prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answers calls until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            reply = {"result": functions[call["call"]](**call["with"])}
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
