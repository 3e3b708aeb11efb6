"""Runs all benchmarks, or those named: `python -m benchmarks [--save] [corpus] [training] ...`; prints ratios.

Each module here with a function `rows` is a benchmark with its own options: `python -m benchmarks.training --help`.
`--save` also writes the rows to `benchmarks/results/`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.rows import save, table

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef rows(" in path.read_text(encoding="utf-8")
)


def main(arguments: list[str]) -> int:
    """Runs benchmarks with their default options; returns 2 for an unknown name."""
    chosen = [name for name in arguments if name != "--save"] or NAMES
    for name in chosen:
        if name not in NAMES:
            print(f"benchmarks: {name!r}: unknown benchmark; valid: {', '.join(NAMES)}", file=sys.stderr)
            return 2
    for name in chosen:
        print(f"== {name}", flush=True)
        rows = [row.record() for row in importlib.import_module(f"benchmarks.{name}").rows()]
        print(table(rows), flush=True)
        if "--save" in arguments:
            print(f"{len(rows)} rows in {save(name, rows)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
