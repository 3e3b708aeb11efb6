"""The steps from runs to the paper, and the schemas of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import STEPS, app, examples
from reluformer.cli.options import Config, Results, experiment_of


@app.command(
    rich_help_panel=STEPS,
    epilog=examples("reluformer study ablation", "reluformer study ablation --config config/demo.yaml"),
)
def study(
    name: Annotated[str, typer.Argument(help="A study of config/studies.yaml.")],
    config: Config = None,
    results: Results = Path("results"),
) -> None:
    """Build one study's tables and figures from its runs."""
    from reluformer.paper.build import build_study

    build_study(experiment_of(config), name, results)


@app.command(rich_help_panel=STEPS, epilog=examples("reluformer significance ffn-activation --config config/demo.yaml"))
def significance(
    name: Annotated[str, typer.Argument(help="A study of config/studies.yaml.")],
    config: Config = None,
    results: Results = Path("results"),
) -> None:
    """Test a study's runs in pairs on their test set: paired bootstrap and approximate randomisation."""
    from reluformer.paper.build import build_significance

    build_significance(experiment_of(config), name, results)


@app.command(rich_help_panel=STEPS, epilog=examples("reluformer claims --config config/demo.yaml"))
def claims(config: Config = None, results: Results = Path("results")) -> None:
    """Put what the paper claims beside what the runs show."""
    from reluformer.paper.claims import build_claims

    build_claims(experiment_of(config), results)


@app.command(rich_help_panel=STEPS, epilog=examples("reluformer index --config config/demo.yaml"))
def index(
    config: Config = None,
    results: Results = Path("results"),
    logs: Annotated[Path, typer.Option(help="The folder with the logs of the steps.")] = Path("logs"),
) -> None:
    """Write the reader's page: claims, tables, figures, runs and provenance, from what is there."""
    from reluformer.paper.index import build_index

    build_index(experiment_of(config), results, logs)


@app.command(rich_help_panel=STEPS, epilog=examples("reluformer overview --config config/demo.yaml"))
def overview(config: Config = None, results: Results = Path("results")) -> None:
    """Print the main table, the verdicts, and where the report is."""
    from reluformer.paper.overview import overview as overview_of

    print(overview_of(experiment_of(config), results))


@app.command(rich_help_panel=STEPS, epilog=examples("reluformer schemas workflow/schemas"))
def schemas(folder: Annotated[Path, typer.Argument(help="Where the JSON schemas go.")]) -> None:
    """Write the JSON schema of every configuration file, for editors."""
    from reluformer.config.schemas import write_schemas

    write_schemas(folder)
