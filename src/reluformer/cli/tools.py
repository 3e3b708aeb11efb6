"""The commands about a machine and a workflow: what an experiment costs, what the machine can do, what is running."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import Config, Corpora, command, experiment_of
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import MEASURED
from reluformer.config.settings import SettingsError

DEMO = Path("config/demo.yaml")
NOT_CURVES = ("event", "update", "epoch", "seconds")
"""Keys of a log's events that are not written as curves."""


@command("reluformer plan", "reluformer plan --config config/demo.yaml --gpu a100 --devices 2")
def plan(
    config: Config = None,
    corpora: Corpora = Path("results/corpora"),
    measured: Annotated[
        Path | None,
        typer.Option(help=f"Speeds measured by `reluformer measure`; by default results/paper/{MEASURED}, if any."),
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Plan for this GPU with its stated speed.")] = None,
    utilisation: Annotated[float, typer.Option(min=0.001, max=1, help="With a stated speed: the assumed MFU.")] = 0.4,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or cores if the speeds were measured on a CPU.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show the runs, their cost, disk space and critical path before anything runs."""
    from rich.console import Console

    from reluformer.cli.costs import measured_speed, stated_speed
    from reluformer.cli.planning import all_sizes, make_plan, show

    experiment = experiment_of(config)
    sizes = all_sizes(experiment, corpora)
    path = measured or corpora.parent / "paper" / MEASURED
    if gpu is None and (measured is not None or (path.is_file() and experiment.measured_study)):
        speed = measured_speed(path, experiment)
    else:
        speed = stated_speed(gpu or "h100", utilisation)
    costs = make_plan(experiment, sizes, speed, devices or speed.devices)
    if as_json:
        print(json.dumps(costs, indent=1, ensure_ascii=False))
    else:
        show(costs, Console(width=None if os.isatty(1) else 120))


@command("reluformer doctor", "reluformer doctor --config config/demo.yaml --json")
def doctor(
    config: Config = None,
    archives: Annotated[
        Path | None, typer.Option(envvar="RELUFORMER_ARCHIVES", help="A folder searched before the network.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Test what training needs on this machine, and say how to fix what fails; takes up to a minute.

    Exit code 0: the demo can run here. 1: it cannot.
    """
    from rich.console import Console

    from reluformer.cli.checks import demo_can_run, run_checks, show

    experiments = [experiment_of(config)]
    if DEMO.is_file() and not experiments[0].config.toy:
        experiments.append(Experiment.from_files(Path("config/config.yaml"), DEMO))
    if not as_json:
        Console(stderr=True).print("Trying a training on two processes (up to a minute) ...", style="dim")
    checks = run_checks(experiments, archives)
    good = demo_can_run(checks)
    if as_json:
        print(json.dumps({"demo": good, "checks": [check._asdict() for check in checks]}, indent=2, ensure_ascii=False))
    else:
        show(checks, Console())
    raise typer.Exit(0 if good else 1)


@command("reluformer watch --config config/demo.yaml", "reluformer watch --once")
def watch(
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="Print the state now, and exit.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between updates of the view.")] = 2.0,
) -> None:
    """Watch a running workflow: progress, loss and time left of each training, failures as they occur.

    It reads results/, checkpoints/ and logs/ in this folder: start and stop it at any time, on any machine that shares
    the disk. It exits when everything is done.
    """
    from rich.console import Console
    from rich.live import Live

    from reluformer.cli.watching import snapshot

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


@command("reluformer tensorboard", "reluformer tensorboard record/small/runs --output build/tensorboard")
def tensorboard(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; by default results/runs and checkpoints.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder for the event files.")] = Path("results/tensorboard"),
) -> None:
    """Write TensorBoard event files for all runs from their logs; run it again to update them.

    It changes no run: the files go to a folder of their own.
    """
    runs = write_curves(folders or [Path("results/runs"), Path("checkpoints")], output)
    print(f"{runs} runs. To see them: tensorboard --logdir {shlex.quote(str(output))}")


def write_curves(folders: list[Path], output: Path) -> int:
    """Writes the curves of each run below `folders` into `output`/DATASET/SYSTEM/seedN; returns the number of runs.

    Skips runs whose log has not changed. Raises `SettingsError` if there is no run.
    """
    logs = find_logs(folders)
    if not logs:
        raise SettingsError(f"{', '.join(map(str, folders))}: no run has a log.jsonl there")
    for run, log in logs.items():
        folder = output / run
        written = list(folder.glob("events.out.tfevents.*"))
        if written and min(path.stat().st_mtime_ns for path in written) >= log.stat().st_mtime_ns:
            continue
        for path in written:
            path.unlink()
        write_events(log, folder)
    return len(logs)


def find_logs(folders: list[Path]) -> dict[str, Path]:
    """Returns each run's newest log.jsonl; below checkpoints, it is one folder deeper."""
    logs: dict[str, Path] = {}
    for folder in folders:
        paths = [path for pattern in ("log.jsonl", "*/log.jsonl") for path in folder.glob(f"*/*/seed*/{pattern}")]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime):
            logs["/".join(path.relative_to(folder).parts[:3])] = path
    return dict(sorted(logs.items()))


def write_events(log: Path, folder: Path) -> None:
    """Writes one run's event file: `train/loss`, `valid/bleu` and so on, by update."""
    from tensorboard.summary import Writer

    from reluformer.paper.runs import read_lines

    events = [event for event in read_lines(log) if "event" in event and "update" in event]
    last = max((event.get("seconds", 0.0) for event in events), default=0.0)
    time = started = log.stat().st_mtime - last
    writer = Writer(str(folder))
    for event in events:
        time = started + event.get("seconds", time - started)  # a validation is logged after its update
        for key, value in event.items():
            if key not in NOT_CURVES and isinstance(value, int | float):
                writer.add_scalar(f"{event['event']}/{key}", value, event["update"], wall_time=time)
    writer.close()
