"""A plan on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def show(plan: dict[str, Any], console: Console) -> None:
    """Prints runs by dataset and system, what each kind costs, the totals, and what they rest on."""
    unit = plan["unit"]
    table = Table(title=f"{plan['title']}: runs", title_justify="left")
    for name in ("dataset", "system"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "updates", "target tokens", f"{unit}-hours"):
        table.add_column(name, justify="right")
    for group in plan["groups"]:
        numbers = [f"{group['runs']}", f"{group['updates']:,}", count(group["target_tokens"])]
        table.add_row(group["dataset"], group["system"], *numbers, f"{group['seconds'] / 3600:,.2f}")
    totals = plan["totals"]
    numbers = [f"{totals['runs']}", f"{totals['updates']:,}", count(totals["target_tokens"])]
    table.add_section()
    table.add_row("all", "", *numbers, f"{totals['device_hours']:,.2f}")
    console.print(table)

    if len(plan["stages"]) > 1:
        stages = Table("stage", title="What each stage adds", title_justify="left")
        for name in ("runs", f"{unit}-hours"):
            stages.add_column(name, justify="right")
        for row in plan["stages"]:
            stages.add_row(row["stage"], f"{row['runs']}", f"{row['seconds'] / 3600:,.2f}")
        console.print(stages)

    steps = Table(title="Jobs", title_justify="left")
    for name in ("step", "jobs", "hours", "mean"):
        steps.add_column(name, justify="left" if name == "step" else "right")
    for step, found in plan["steps"].items():
        mean = found["seconds"] / found["jobs"]
        steps.add_row(step, f"{found['jobs']}", f"{found['seconds'] / 3600:,.2f}", duration(mean))
    console.print(steps)

    time, disk = plan["time"], plan["disk"]
    chain = " → ".join(f"{part['job']} ({duration(part['seconds'])})" for part in time["critical_path"])
    lines = [
        f"{totals['device_hours']:,.1f} {unit}-hours on: {plan['device']}",
        f"{duration(time['seconds'])} on {plan['devices']} {unit}{'s' * (plan['devices'] > 1)}",
        f"{duration(time['critical_path_seconds'])} on any number of them, the critical path: {chain}",
        f"Disk: {size(disk['models'])} of models, {size(disk['corpora'])} of corpora (about), and "
        f"{size(disk['checkpoints'])} of checkpoints while {plan['devices']} trainings go on",
        "",
        "What this rests on:",
        *(f"- {line}" for line in plan["basis"]),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """`3 s`, `12 min 5 s`, `3 h 4 min`, `12 d 3 h`."""
    whole = round(seconds)
    for unit, size_of, below, smaller in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min"), ("min", 60, 1, "s")):
        if whole >= size_of:
            return f"{whole // size_of} {unit} {whole % size_of // below} {smaller}"
    return f"{whole} s"


def count(number: float) -> str:
    """`1.5 M`, `2.0 G`."""
    for unit, size_of in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size_of:
            return f"{number / size_of:.1f} {unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes as `1.5 GB`."""
    return f"{count(number)}B"
