"""Every benchmark, or those named: `python -m benchmarks [corpus] [decoding]`; each prints ratios measured in one run.

The options of one are on its own command line, e.g. `python benchmarks/decoding.py --help`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("__"))


def main() -> int:
    """Runs them one after the other, each with its default options; 2 for a name that does not exist."""
    chosen = sys.argv[1:] or NAMES
    for name in chosen:
        if name not in NAMES:
            print(f"benchmarks: {name!r}: there is no such benchmark; valid: {', '.join(NAMES)}", file=sys.stderr)
            return 2
    for name in chosen:
        print(f"== {name}", flush=True)
        sys.argv = [str(FOLDER / f"{name}.py")]
        runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
