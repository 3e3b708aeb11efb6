"""Where the command line starts: all commands, and what becomes of a mistake."""

from __future__ import annotations

import sys

from reluformer.cli import doctor, paper, plan, steps  # noqa: F401  each adds its commands to the app
from reluformer.cli.app import app
from reluformer.settings import SettingsError


def main() -> None:
    """Runs the command line; a person's mistake ends as one line and exit code 2."""
    try:
        app()
    except SettingsError as error:
        print(f"reluformer: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
