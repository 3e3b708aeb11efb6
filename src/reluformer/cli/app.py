"""The typer application that every module of commands adds to."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Trained models for people, and each step of the DAG without Snakemake.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
