"""What an experiment will cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Config, Corpora, experiment_of


@app.command(
    rich_help_panel=PEOPLE, epilog=examples("reluformer plan", "reluformer plan --config config/demo.yaml --measure")
)
def plan(
    config: Config = None,
    corpora: Corpora = Path("results/corpora"),
    measured: Annotated[bool, typer.Option("--measure", help="Time each kind of run on this machine.")] = False,
    card: Annotated[str, typer.Option(help="Without --measure: the card to plan for.")] = "h100",
    utilisation: Annotated[float, typer.Option(min=0.001, max=1, help="Without --measure: the assumed MFU.")] = 0.4,
    devices: Annotated[int | None, typer.Option(min=1, help="GPUs; cores where --measure finds no GPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """List the runs, their cost, the disk and the critical path, before anyone spends them."""
    from rich.console import Console

    from reluformer.cli.planning.gpus import card as card_of
    from reluformer.cli.planning.plan import collect, make_plan, stated
    from reluformer.cli.planning.show import show

    experiment = experiment_of(config)
    sizes, kinds = collect(experiment, corpora)
    if measured:
        from reluformer.cli.planning.machine import on_this_machine

        basis, slots = on_this_machine(kinds, sizes, devices, Console(stderr=True).print)
    else:
        basis = stated(kinds, sizes, card_of(card), utilisation)
        slots = devices or 8
    found = make_plan(experiment, sizes, kinds, basis, slots)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show(found, Console(width=None if os.isatty(1) else 120))
