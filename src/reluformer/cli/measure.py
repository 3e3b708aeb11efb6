"""Speed and memory by length."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import app
from reluformer.cli.options import Config, Settings, Threads, experiment_of, parse_json
from reluformer.config.settings import SettingsError, parse


@app.command()
def measure(
    output: Annotated[Path, typer.Option(help="The file of what was measured.")] = Path("results/paper/measured.json"),
    settings: Settings = None,
    config: Config = None,
    threads: Threads = None,
) -> None:
    """Measure speed and memory of a study's systems by length, all in one job, with random weights."""
    from reluformer.benchmark.plan import MeasuringPlan, measuring_plan
    from reluformer.benchmark.step import measure as measure_plan
    from reluformer.files import write_json

    if settings is not None:
        plan: MeasuringPlan | None = parse(MeasuringPlan, parse_json(settings, "--settings"), "--settings")
    else:
        plan = measuring_plan(experiment_of(config))
    if plan is None:
        raise SettingsError("no study of this configuration is measured: none has `measured` in studies.yaml")
    write_json(output, measure_plan(plan, threads or 1, print))
