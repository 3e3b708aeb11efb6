"""The view of `reluformer watch`, from a workflow's outputs, checkpoints and logs alone; the report of failed jobs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reluformer.cli.costs import duration
from reluformer.cli.jobs import list_jobs
from reluformer.config.experiment import Experiment

SHOWN = 20
"""The most rows of a table."""
QUIET_SECONDS = 180.0
"""A training that has written nothing for this long, or for three of its log intervals, has stopped."""
FAILED_LINES, FAILED_SHOWN = 8, 5
"""Lines shown of a failed job's log, and the most jobs shown with them; of the others only the log file is named."""
ERROR = re.compile(r"reluformer: (?!warning: )|[\w.]*(Error|Exception|Interrupt|Killed|Terminated)\b")
"""How the last line of a failed step's log begins."""


class Step(NamedTuple):
    """How many jobs a step has, and how many of them are done."""

    name: str
    done: int
    all: int


class StartedJob(NamedTuple):
    """A job with a log but no output: it is running or has failed. quiet: seconds since its log changed."""

    name: str
    log: Path
    last_line: str
    quiet: float

    @property
    def failed(self) -> bool:
        """Whether its last line is an error."""
        return ERROR.match(self.last_line) is not None


class Training(NamedTuple):
    """A training that has not ended. loss: nats per token; left: estimated seconds; quiet: seconds since it wrote."""

    run: str
    update: int
    updates: int
    loss: float | None
    tokens_per_second: float | None
    left: float | None
    quiet: float
    running: bool


def snapshot(experiment: Experiment, folder: Path) -> tuple[RenderableType, bool]:
    """Returns the current view of a project's folder, and whether everything is done."""
    steps = progress(experiment, folder / "results")
    trainings = read_trainings(folder / "checkpoints")
    jobs = [job for job in started_jobs(experiment, folder) if job.failed or not job.name.startswith("train ")]
    parts: list[RenderableType] = [Text(experiment.config.title, style="bold"), progress_table(steps)]
    parts += [training_table(trainings)] if trainings else []
    parts += [job_table(jobs, folder)] if jobs else []
    spaced = [part for table in parts for part in (table, Text())]
    return Group(*spaced), all(step.done == step.all for step in steps)


def progress(experiment: Experiment, results: Path) -> list[Step]:
    """Returns each step of the experiment, in the order of its jobs."""
    counts: dict[str, list[int]] = {}
    for job in list_jobs(experiment, results):
        count = counts.setdefault(job.step, [0, 0])
        count[0] += (results / job.output).is_file()
        count[1] += 1
    return [Step(name, *count) for name, count in counts.items()]


def started_jobs(experiment: Experiment, folder: Path) -> list[StartedJob]:
    """Returns the jobs, including downloads, that have a log and no output yet; failed ones come last."""
    jobs = list_jobs(experiment, folder / "results")
    paths = {job.log: (job.name, folder / "results" / job.output) for job in jobs}
    for log in (folder / "logs" / "fetch").glob("**/*.log"):
        place = log.relative_to(folder / "logs" / "fetch").with_suffix("")
        paths[log.relative_to(folder / "logs")] = (f"fetch {place}", folder / "resources" / place)
    started = []
    for log, (name, output) in paths.items():
        path = folder / "logs" / log
        if path.is_file() and not output.exists():
            quiet = max(0.0, time.time() - path.stat().st_mtime)
            started.append(StartedJob(name, path, last_lines(path, 1)[0].strip(), quiet))
    return sorted(started, key=lambda job: job.failed)


def read_trainings(checkpoints: Path, now: float | None = None) -> list[Training]:
    """Returns every training that has started but not ended: once it ends, its checkpoints are removed."""
    now = time.time() if now is None else now
    newest: dict[Path, Path] = {}
    for path in sorted(checkpoints.glob("*/*/seed*/*/run.json"), key=lambda path: path.stat().st_mtime):
        newest[path.parent.parent] = path
    trainings = [read_training(folder, run, checkpoints, now) for folder, run in sorted(newest.items())]
    return [training for training in trainings if training is not None]


def read_training(folder: Path, run: Path, checkpoints: Path, now: float) -> Training | None:
    """Returns one training, from its folder and its run.json; None while these are being written or removed."""
    log = run.parent / "log.jsonl"
    try:
        updates = int(json.loads(run.read_text(encoding="utf-8"))["run"]["training"]["updates"])
        files = [path for path in (folder / "train.log", log, run) if path.is_file()]
        quiet = max(0.0, now - max(path.stat().st_mtime for path in files))
        events = train_events(log)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    start: dict[str, Any] = {"update": 0, "seconds": 0.0}
    before, last = [start, start, *events][-2:]
    interval, progress = last["seconds"] - before["seconds"], last["update"] - before["update"]
    left = interval / progress * (updates - last["update"]) if progress > 0 else None
    return Training(
        folder.relative_to(checkpoints).as_posix(),
        last["update"],
        updates,
        last.get("loss"),
        last.get("tokens_per_second"),
        left,
        quiet,
        quiet < max(QUIET_SECONDS, 3 * interval),
    )


def training_line(training: Training) -> str:
    """Returns `train iwslt14/reluformer/seed1: update 1,000 of 50,000, loss 4.321, 2 h 3 min left`."""
    loss = "" if training.loss is None else f", loss {training.loss:.3f}"
    left = "" if training.left is None else f", {duration(training.left)} left"
    return f"train {training.run}: update {training.update:,} of {training.updates:,}{loss}{left}"


def train_events(path: Path) -> list[dict[str, Any]]:
    """Returns the last train events of a log.jsonl; skips an incomplete line."""
    if not path.is_file():
        return []
    events = []
    for line in _tail(path, 1 << 14):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "train":
            events.append(event)
    return events


def last_lines(path: Path, count: int) -> list[str]:
    """Returns the last lines of a log that are not blank, at least one."""
    try:
        lines = _tail(path, 1 << 13)
    except OSError as error:
        return [f"({(error.strerror or 'not readable').lower()})"]
    return [line.rstrip() for line in lines if line.strip()][-count:] or ["(empty)"]


def _tail(path: Path, size: int) -> list[str]:
    """Returns the lines in the last `size` bytes of a file; the first may be incomplete."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - size))
        return file.read().decode("utf-8", errors="replace").splitlines()


def explain_failures(failed: Sequence[tuple[str, Path | None]], folder: Path) -> str:
    """Returns a message that shows the end of each failed job's log and says what to do; `failed`: name and log."""
    blocks = []
    for name, log in failed[:FAILED_SHOWN]:
        lines = [f"  | {line}" for line in last_lines(folder / log, FAILED_LINES)] if log else []
        blocks.append("\n".join([f"{name} failed" + (f"; the end of {log}:" if log else "."), *lines]))
    if more := [f"  {name}: {log}" for name, log in failed[FAILED_SHOWN:]]:
        blocks.append("\n".join([f"and {len(more)} more:", *more]))
    advice = "Fix what the last line of a log reports, then start the same command again: finished jobs are kept, "
    return "\n" + "\n\n".join([*blocks, f"{advice}and a training resumes from its last checkpoint."])


def progress_table(steps: Sequence[Step]) -> Table:
    """Returns a table with a row for each step."""
    table = Table("step", "", "done", box=None, pad_edge=False)
    for step in [*steps, Step("all", sum(step.done for step in steps), sum(step.all for step in steps))]:
        table.add_row(step.name, ProgressBar(step.all, step.done, width=24), f"{step.done} of {step.all}")
    return table


def training_table(trainings: Sequence[Training]) -> Table:
    """Returns a table with a row for each training, running ones first."""
    table = Table("training", "", "update", "loss", "tokens/s", "left", box=None, pad_edge=False)
    for row in sorted(trainings, key=lambda training: not training.running)[:SHOWN]:
        bar = ProgressBar(row.updates, row.update, width=24)
        loss = "" if row.loss is None else f"{row.loss:.3f}"
        speed = "" if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}"
        left = "starting" if row.left is None else duration(row.left)
        state = left if row.running else f"stopped {duration(row.quiet)} ago"
        table.add_row(escape(row.run), bar, f"{row.update:,} of {row.updates:,}", loss, speed, state)
    if len(trainings) > SHOWN:
        table.add_row(f"and {len(trainings) - SHOWN} more")
    return table


def job_table(jobs: Sequence[StartedJob], folder: Path) -> Table:
    """Returns a table with a row for each unfinished job and the last line of its log."""
    table = Table("running or failed", "log", "changed", "last line", box=None, pad_edge=False)
    for job in jobs[-SHOWN:]:
        log = escape(str(job.log.relative_to(folder)))
        age = f"{duration(job.quiet)} ago"
        table.add_row(escape(job.name), log, age, escape(job.last_line), style="red" if job.failed else None)
    return table
