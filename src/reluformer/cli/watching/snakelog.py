"""What a Snakemake says in its log: the jobs that run, the jobs that failed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r"^(?:local)?rule (\w+):$")
FAILED = re.compile(r"^Error in rule (\w+)[,:]")
FINISHED = re.compile(r"^Finished jobid: (\d+)")
KEY = re.compile(r"^    (jobid|log|wildcards): (.*)$")
STEPS = re.compile(r"^(\d+) of (\d+) steps")


@dataclass
class SnakeJob:
    """One job: its rule, its wildcards as Snakemake writes them, its log."""

    rule: str
    about: str = ""
    log: str = ""


@dataclass
class SnakeLog:
    """The state of a Snakemake: jobs by id; `failed` says of each whether it was tried again since."""

    path: Path | None = None
    running: dict[int, SnakeJob] = field(default_factory=dict)
    failed: dict[int, tuple[SnakeJob, bool]] = field(default_factory=dict)
    done: int = 0
    all: int = 0


def newest_log(folder: Path) -> Path | None:
    """The log of the last Snakemake of this folder that ran jobs; dry runs and reports are passed over."""
    for path in sorted((folder / ".snakemake" / "log").glob("*.snakemake.log"), reverse=True):
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(1 << 15)
        if "\nProvided cores: " in head or "\nProvided remote nodes: " in head:
            return path
    return None


def read_log(path: Path | None) -> SnakeLog:
    """What a log says, to its end."""
    state = SnakeLog(path)
    if path is None:
        return state
    job, failing = SnakeJob(""), False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := BLOCK.match(line) or FAILED.match(line):
            job, failing = SnakeJob(found[1]), line.startswith("Error")
        elif found := KEY.match(line):
            key, value = found.groups()
            if key == "log":
                # On a cluster the scheduler's log follows the step's own.
                job.log = value.partition(" (check log")[0].partition(", ")[0]
            elif key == "wildcards":
                job.about = _about(dict(part.partition("=")[::2] for part in value.split(", ")))
            elif job.rule:
                _enter(state, int(value), job, failing)
        elif found := FINISHED.match(line):
            state.running.pop(int(found[1]), None)
            state.failed.pop(int(found[1]), None)
        elif found := STEPS.match(line):
            state.done, state.all = int(found[1]), int(found[2])
    return state


def _about(wildcards: dict[str, str]) -> str:
    """What a job is about: a run by its name, anything else by the values of its wildcards."""
    if wildcards.keys() == {"dataset", "system", "seed"}:
        return f"{wildcards['dataset']}/{wildcards['system']}/seed{wildcards['seed']}"
    return ", ".join(wildcards.values())


def _enter(state: SnakeLog, number: int, job: SnakeJob, failing: bool) -> None:
    if failing:
        before = state.running.pop(number, None)
        job.about = before.about if before else ""
        state.failed[number] = (job, False)
        return
    state.running[number] = job
    if number in state.failed:
        state.failed[number] = (state.failed[number][0], True)


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    return last_lines(path, 1)[0].strip()


def last_lines(path: Path, count: int, tail: int = 1 << 13) -> list[str]:
    """The last lines of a log that say something, at least one; `tail` bytes of it are read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - tail))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        return [f"({(error.strerror or 'not readable').lower()})"]
    return [line.rstrip() for line in lines if line.strip()][-count:] or ["(empty)"]
