"""What is seen: progress by step, trainings with loss and time left, other jobs, failures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reluformer.cli.planning.show import duration
from reluformer.cli.watching.jobs import Step, progress
from reluformer.cli.watching.snakelog import SnakeLog, last_line, newest_log, read_log
from reluformer.cli.watching.trainings import Training, trainings
from reluformer.config.experiment import Experiment

SHOWN = 20
"""Rows of a table at most."""


def snapshot(experiment: Experiment, folder: Path) -> tuple[RenderableType, bool]:
    """The view of a project's folder now, and whether everything is done."""
    steps = progress(experiment, folder / "results")
    log = read_log(newest_log(folder))
    begun = trainings(folder / "checkpoints")
    parts: list[RenderableType] = [Text(experiment.config.title, style="bold"), progress_table(steps, log)]
    if begun:
        parts.append(training_table(begun))
    if any(job.rule != "train" for job in log.running.values()):
        parts.append(job_table(log))
    if log.failed:
        parts.append(failure_table(log, folder))
    spaced = [part for table in parts for part in (table, Text())]
    done = all(step.done == step.all for step in steps)
    return Group(*spaced), done


def progress_table(steps: list[Step], log: SnakeLog) -> Table:
    """A row a step: done, running, waiting."""
    table = _table("step", "", "done", "running", "waiting")
    for step in [*steps, Step("all", sum(step.done for step in steps), sum(step.all for step in steps))]:
        jobs = log.running.values()
        running = sum(step.name in ("all", _step(job.rule)) for job in jobs)
        waiting = max(0, step.all - step.done - running)
        bar = ProgressBar(step.all, step.done, width=24)
        table.add_row(step.name, bar, f"{step.done} of {step.all}", str(running or ""), str(waiting or ""))
    return table


def training_table(begun: list[Training]) -> Table:
    """A row a training, those that go on first."""
    table = _table("training", "", "update", "loss", "tokens/s", "left")
    for one in sorted(begun, key=lambda one: not one.goes_on)[:SHOWN]:
        bar = ProgressBar(one.updates, one.update, width=24)
        loss = "" if one.loss is None else f"{one.loss:.3f}"
        speed = "" if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f}"
        left = "starting" if one.left is None else duration(one.left)
        state = left if one.goes_on else f"stopped {duration(one.quiet)} ago"
        table.add_row(escape(one.run), bar, f"{one.update:,} of {one.updates:,}", loss, speed, state)
    if len(begun) > SHOWN:
        table.add_row(f"and {len(begun) - SHOWN} more")
    return table


def job_table(log: SnakeLog) -> Table:
    """A row a job that is no training."""
    table = _table("running", "of", "log")
    for job in [job for job in log.running.values() if job.rule != "train"][:SHOWN]:
        table.add_row(job.rule, escape(job.about), escape(job.log))
    return table


def failure_table(log: SnakeLog, folder: Path) -> Table:
    """A row a failed job: its log, and the last line in it."""
    table = _table("failed", "log", "last line")
    for job, again in list(log.failed.values())[-SHOWN:]:
        name = f"{job.rule} {job.about}".strip() + (" (tried again)" if again else "")
        table.add_row(escape(name), escape(job.log), escape(last_line(folder / job.log)), style="red")
    return table


def _step(rule: str) -> str:
    """The step that a rule of the workflow is: every study has a rule of its own."""
    return "study" if rule.startswith("study_") else rule


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        right = name in ("done", "running", "waiting", "update", "loss", "tokens/s", "left") and len(names) > 3
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table
