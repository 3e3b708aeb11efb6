"""The rows of a benchmark, ours against a peer's in the same run: measures, prints and saves them."""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import typer
from tabulate import tabulate

from reluformer.training.summary import machine

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PACKAGES = {"torch", "deepspeed", "numpy", "triton", "snakemake", "entmax"}


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what was measured.
        ours, theirs: medians in `unit`; theirs is None without a peer.
        peer: whose value `theirs` is, or "limit" for a limit of our own.
        target: the minimum ratio; None if the row is informative only.
        less: whether less is better.
        spread: half the interquartile range of our measurements, as a share of the median.
        why: what bounds a missed target, in one sentence.
    """

    name: str
    ours: float
    peer: str
    theirs: float | None
    unit: str
    target: float | None = None
    less: bool = False
    spread: float | None = None
    why: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is: ours / theirs, or theirs / ours if less is better."""
        if self.theirs is None or 0 in (self.ours, self.theirs):
            return None
        return self.theirs / self.ours if self.less else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the target; None without a target."""
        return None if self.target is None or self.ratio is None else bool(self.ratio >= self.target)

    def record(self) -> dict[str, Any]:
        """Returns the row as JSON; `why` only for a missed target, "not profiled" if it is unknown."""
        return {
            "name": self.name,
            "ours": _digits(self.ours),
            "peer": self.peer,
            "theirs": _digits(self.theirs),
            "unit": self.unit,
            "better": "less" if self.less else "more",
            "ratio": _digits(self.ratio),
            "target": self.target,
            "met": self.met,
            "spread": _digits(self.spread),
            "why": (self.why or "not profiled") if self.met is False else "",
        }


def run(rows: Callable[..., list[Row]]) -> None:
    """Runs one benchmark from the command line, with the arguments of `rows` as options, and prints its table."""

    @functools.wraps(rows)
    def command(**options: Any) -> None:
        print(table([row.record() for row in rows(**options)]))

    typer.run(command)


def interleaved(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, float]]:
    """Returns the median and relative spread of each measure, taken in turns so that all see the same machine.

    Args:
        measures: name -> a function that measures once.
        rounds: calls of each, after a warm-up call.
    """
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(1 + rounds):
        for name, measure in measures.items():
            values[name].append(measure())
    return {name: median_and_spread(measured[1:]) for name, measured in values.items()}


def paired(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Returns ours, theirs and the spread of measurements taken in turns, whose work differs from turn to turn.

    Ours is the median; ours / theirs is the median of the turns' ratios, which one disturbed turn hardly affects; the
    spread is that of the ratios.
    """
    ratio, spread = median_and_spread([our / their for our, their in zip(ours, theirs, strict=True)])
    middle = statistics.median(ours)
    return middle, middle / ratio, spread


def median_and_spread(values: list[float]) -> tuple[float, float]:
    """Returns the median, and half the interquartile range as a share of it."""
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return middle, (high - low) / 2 / abs(middle) if middle else 0.0


def table(rows: list[dict[str, Any]]) -> str:
    """Formats rows as text, followed by a sentence for each missed target."""
    head = ["what", "ours", "theirs", "unit", "peer", "ratio", "target", "met", "spread"]
    lines = [
        [
            row["name"],
            _number(row["ours"]),
            _number(row["theirs"]),
            row["unit"],
            row["peer"],
            "" if row["ratio"] is None else f"{row['ratio']:.2f}x",
            "" if row["target"] is None else f">= {row['target']:g}x",
            {True: "yes", False: "NO", None: ""}[row["met"]],
            "" if row["spread"] is None else f"±{row['spread']:.0%}",
        ]
        for row in rows
    ]
    misses = [f"missed: {row['name']}, against {row['peer']}: {row['why']}" for row in rows if row["met"] is False]
    return "\n".join([tabulate(lines, head, disable_numparse=True), *misses])


def save(benchmark: str, rows: list[dict[str, Any]], folder: Path = RESULTS) -> Path:
    """Replaces the rows of one benchmark in today's file of this device; returns the file.

    A CPU that is limited to older instructions (ATEN_CPU_CAPABILITY) is a device of its own.
    """
    setting = surroundings()
    path = folder / f"{time.strftime('%Y-%m-%d')}-{slug(setting['device'])}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    others = [row for row in before if row["benchmark"] != benchmark]
    mark = {"benchmark": benchmark} | {key: setting.pop(key) for key in ("commit", "threads")}
    setting["rows"] = sorted(others + [mark | row for row in rows], key=lambda row: row["benchmark"])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(setting, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def threads() -> int:
    """Returns the number of CPU threads for ours and for the peers: OMP_NUM_THREADS, or all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def surroundings() -> dict[str, Any]:
    """Returns the machine, versions and commit of a measurement; the device is the first GPU, or the CPU."""
    hardware = machine()
    gpu = next(iter(hardware["gpus"]), None)
    cpu = " ".join(filter(None, [hardware["cpu"], os.environ.get("ATEN_CPU_CAPABILITY", "")]))
    versions = {package.name: package.version for package in distributions() if package.name.lower() in PACKAGES}
    describe = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "device": gpu or cpu,
        "cpu": hardware["cpu"],
        "gpu": gpu,
        "machine": platform.platform(),
        "cores": hardware["cores"],
        "threads": threads(),
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "packages": dict(sorted(versions.items())),
    }


def slug(name: str) -> str:
    """Returns a name in a form that is safe in file names."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
