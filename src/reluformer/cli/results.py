"""The commands that share results: the archive of a workflow, and the record of an experiment."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import Config, Results, command, experiment_of
from reluformer.config.settings import SettingsError


@command("reluformer archive --config config/demo.yaml")
def archive(
    config: Config = None,
    results: Results = Path("results"),
    logs: Annotated[Path, typer.Option(help="The folder with the logs of the steps.")] = Path("logs"),
    output: Annotated[Path | None, typer.Option(help="The file; by default RESULTS/paper/archive.zip.")] = None,
    models: Annotated[bool, typer.Option("--models", help="Include the trained models.")] = False,
    references: Annotated[
        bool, typer.Option("--references", help="Include test text whose licence may not allow redistribution.")
    ] = False,
) -> None:
    """Pack tables, figures, claims, scores, hypotheses, configurations and logs into one zip file with checksums."""
    from reluformer.paper.archive import pack_archive

    path = output or results / "paper" / "archive.zip"
    for line in pack_archive(experiment_of(config), results, logs, path, models, references):
        print(f"- {line}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; check it by: reluformer verify {path}")


@command("reluformer verify results/paper/archive.zip")
def verify(
    path: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A zip file written by `reluformer archive`.")],
    corpora: Annotated[
        Path | None, typer.Option(help="Prepared corpora, for test text that the archive lacks.")
    ] = None,
) -> None:
    """Check an archive: every byte against its manifest, every score against its hypotheses."""
    from reluformer.paper.archive import verify_archive

    check = verify_archive(path, corpora)
    for fault in check.faults:
        print(f"FAULT {fault}")
    if check.faults:
        print(f"{path}: {len(check.faults)} faults in {check.files} files")
        raise typer.Exit(1)
    left = f"; {check.unscored} not, for lack of their test text (--corpora)" if check.unscored else ""
    print(f"{path}: {check.files} files match the manifest; scores of {check.scored} runs recomputed{left}")


@command(
    "reluformer record --config config/small.yaml --output record/small",
    "reluformer record --check --output record/small --cores 2",
)
def record(
    config: Config = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder; by default the configuration's, or all of record/ with --check."),
    ] = None,
    results: Results = Path("results"),
    check: Annotated[
        bool, typer.Option("--check", help="Recompute all tables and compare them with those in the record.")
    ] = False,
    paper: Annotated[
        Path | None, typer.Option(help="With --check: save the computed tables and figures in this folder.")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="With --check: the number of processes.")] = 1,
) -> None:
    """Copy finished runs into a record, without weights and text; or check a record: scores, p-values, tables.

    Also updates, or checks, the pages of this folder, docs/ and record/ that quote the record.
    """
    if check:
        _check(output, paper, cores)
        return
    from reluformer.paper.recompute import update_paper
    from reluformer.paper.record import take

    experiment = experiment_of(config)
    folder = output or (Path(experiment.config.record) if experiment.config.record else None)
    if folder is None:
        raise SettingsError("name the record's folder (--output record/NAME), or set `record` in the configuration")
    taken = take(experiment, results, folder)
    for line in taken.refused:
        print(f"- left out: {line}")
    update_paper(experiment, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {len(taken.new)} runs added, {len(taken.unchanged)} already there; {size / 1e6:.1f} MB")


def _check(output: Path | None, paper: Path | None, cores: int) -> None:
    from reluformer.paper.recompute import check_record
    from reluformer.paper.record import EXPERIMENT

    folders = [output] if output else sorted(path.parent for path in Path("record").glob(f"*/{EXPERIMENT}"))
    if not folders:
        raise SettingsError(f"record: no record found (record/NAME/{EXPERIMENT})")
    failed = False
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="reluformer-record-") as name:
            faults = check_record(folder, Path(name), cores=cores)
            if paper is not None:
                shutil.copytree(Path(name) / "paper", paper / folder.name, dirs_exist_ok=True)
        for fault in faults:
            print(f"DIFFERS {folder}/{fault}")
        failed |= bool(faults)
        if not faults:
            print(f"{folder}: recomputed scores, p-values, tables and verdicts match the committed ones")
    if failed:
        raise typer.Exit(1)
