"""The whole examination, all checks at a time, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from reluformer.cli.checks import machine, network, programs, training
from reluformer.cli.checks.check import Check
from reluformer.config.experiment import Experiment

COLOURS = {"ok": "green", "warn": "yellow", "missing": "red"}


def examine(experiments: Sequence[Experiment], folder: Path, archives: Path | None = None) -> list[Check]:
    """Every check of this machine, within a minute.

    Args:
        experiments: those whose archives are looked for; the first is the one that is to run.
        folder: the project's folder, where results/ and resources/ are.
        archives: a folder that is searched before the network.
    """
    given = [archives, *(experiment.config.archives for experiment in experiments), folder / "resources"]
    places = [Path(path) for path in given if path is not None and Path(path).is_dir()]
    corpora = {
        name: (dataset.corpus.archives, experiment.config.toy)
        for experiment in experiments
        for name, dataset in experiment.datasets.items()
    }
    parts: list[Callable[[], list[Check]]] = [
        lambda: [machine.cores(), machine.memory(), machine.disk(folder, experiments[0].config.toy)],
        training.torch_and_devices,
        lambda: training.two_processes(len(training.driver() or [])),
        lambda: [programs.compiler()],
        lambda: network.sources(corpora, places),
        lambda: [programs.fonts()],
        lambda: [programs.slurm(), programs.latex(), programs.chromium()],
    ]
    with ThreadPoolExecutor(len(parts)) as pool:
        return [check for part in pool.map(lambda part: part(), parts) for check in part]


def demo_can_run(checks: Sequence[Check]) -> bool:
    """Whether nothing that the demo needs is missing."""
    return not any(check.needed and check.state == "missing" for check in checks)


def show(checks: Sequence[Check], console: Console) -> None:
    """A line for each check: its state, what was found, what that means, how to mend it."""
    wide = max(len(check.name) for check in checks)
    for check in checks:
        head = f"[{COLOURS[check.state]}]{check.state:>7}[/]  [bold]{escape(check.name):{wide}}[/]"
        told = f"{escape(check.found)}: {escape(check.means)}"
        console.print(head, told, soft_wrap=True, highlight=False)
        if check.mend and check.state != "ok":
            console.print(f"{'':9}mend: {escape(check.mend)}", style="dim", soft_wrap=True, highlight=False)
    counts = ", ".join(f"{sum(check.state == state for check in checks)} {state}" for state in COLOURS)
    verdict = "the demo can run here" if demo_can_run(checks) else "the demo cannot run here yet"
    console.print(f"\n{counts}; [bold]{verdict}[/]", soft_wrap=True, highlight=False)
