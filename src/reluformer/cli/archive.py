"""The results in one file for another person, and their check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import PEOPLE, app, examples
from reluformer.cli.options import Config, Results, experiment_of


@app.command(rich_help_panel=PEOPLE, epilog=examples("reluformer archive --config config/demo.yaml"))
def archive(
    config: Config = None,
    results: Results = Path("results"),
    logs: Annotated[Path, typer.Option(help="The folder with the logs of the steps.")] = Path("logs"),
    output: Annotated[Path | None, typer.Option(help="By default RESULTS/paper/archive.zip.")] = None,
    models: Annotated[bool, typer.Option("--models", help="Take in the trained models.")] = False,
    references: Annotated[
        bool, typer.Option("--references", help="Take in test text that its licence does not say may be passed on.")
    ] = False,
) -> None:
    """Pack tables, figures, claims, scores, hypotheses, configurations and logs into one RO-Crate."""
    from reluformer.paper.archive import pack_archive

    path = output or results / "paper" / "archive.zip"
    for line in pack_archive(experiment_of(config), results, logs, path, models, references):
        print(f"- {line}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; check it by: reluformer verify {path}")


@app.command(rich_help_panel=PEOPLE, epilog=examples("reluformer verify results/paper/archive.zip"))
def verify(
    path: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A zip file of `reluformer archive`.")],
    corpora: Annotated[
        Path | None, typer.Option(help="Prepared corpora, for test text that is not in the archive.")
    ] = None,
) -> None:
    """Check an archive: every byte against its manifest, every score against its hypotheses."""
    from reluformer.paper.verify import verify_archive

    found = verify_archive(path, corpora)
    for fault in found.faults:
        print(f"FAULT {fault}")
    if found.faults:
        print(f"{path}: {len(found.faults)} faults in {found.files} files")
        raise typer.Exit(1)
    left = f"; {found.unscored} not, as their test text is not here (--corpora)" if found.unscored else ""
    print(f"{path}: {found.files} files as in the manifest; scores of {found.scored} runs computed anew{left}")
