"""The typer application that every module of commands adds to."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="`reluformer <step>`: each step of the DAG, usable without Snakemake.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
