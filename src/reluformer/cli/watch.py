"""A running workflow in one view of the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Config, experiment_of


@app.command(
    rich_help_panel=PEOPLE, epilog=examples("reluformer watch --config config/demo.yaml", "reluformer watch --once")
)
def watch(
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="Print what there is now, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Watch a running workflow: what is done, loss and time left of each training, failures as they come.

    It reads results/, checkpoints/ and the logs of this folder, so it may be started and left at any time, and on any
    machine that shares the disk. It ends when everything is done.
    """
    from rich.console import Console
    from rich.live import Live

    from reluformer.cli.watching.view import snapshot

    experiment = experiment_of(config)
    folder = Path.cwd()
    view, done = snapshot(experiment, folder)
    console = Console(width=None if Console().is_terminal else 160)
    if once or not console.is_terminal:
        console.print(view)
        return
    with Live(view, console=console, refresh_per_second=4) as live:
        while not done:
            time.sleep(every)
            view, done = snapshot(experiment, folder)
            live.update(view)
