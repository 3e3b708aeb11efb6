"""What this machine can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Config, experiment_of
from reluformer.config.experiment import Experiment

DEMO = Path("config/demo.yaml")


@app.command(
    rich_help_panel=PEOPLE, epilog=examples("reluformer doctor", "reluformer doctor --config config/demo.yaml --json")
)
def doctor(
    config: Config = None,
    archives: Annotated[
        Path | None, typer.Option(envvar="RELUFORMER_ARCHIVES", help="A folder searched before the network.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for machines.")] = False,
) -> None:
    """Say what this machine can do, what is missing and how to mend it; within a minute.

    Exit code 0: the demo can run here. 1: it cannot.
    """
    from rich.console import Console

    from reluformer.cli.checks.examine import demo_can_run, examine, show

    experiments = [experiment_of(config)]
    if DEMO.is_file() and not experiments[0].config.toy:
        experiments.append(Experiment.from_files(Path("config/config.yaml"), DEMO))
    if not as_json:
        Console(stderr=True).print("Looking around, and training on two processes (up to a minute) ...", style="dim")
    checks = examine(experiments, Path.cwd(), archives)
    good = demo_can_run(checks)
    if as_json:
        print(json.dumps({"demo": good, "checks": [check._asdict() for check in checks]}, indent=2, ensure_ascii=False))
    else:
        show(checks, Console())
    raise typer.Exit(0 if good else 1)
