"""The typer application that every module of commands adds to."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Trained models for people, and each step of the DAG without Snakemake.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PEOPLE, STEPS = "For people", "Steps of the DAG"
"""The groups of commands in the help."""


def examples(*lines: str) -> str:
    """Command lines as the end of a command's help."""
    return "\n\n".join(["Examples:", *lines])
