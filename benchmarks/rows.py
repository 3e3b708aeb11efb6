"""The rows of a benchmark: ours against theirs, measured in one run; their table, and their file."""

from __future__ import annotations

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

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One comparison.

    name: what was measured. ours, theirs: medians in `unit`; theirs is none where there is no peer. peer: whose
    figure `theirs` is, or "limit" for a limit that we set ourselves. target: the least ratio wanted, none where the
    row only informs. less: less is better. spread: half the interquartile range of our measurements, as a share of
    the median. why: what bounds a target that was missed, in a sentence.
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
        """How many times better ours is: ours / theirs, or theirs / ours where less is better."""
        if self.theirs is None or 0 in (self.ours, self.theirs):
            return None
        return self.theirs / self.ours if self.less else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the target; none without one."""
        return None if self.target is None or self.ratio is None else bool(self.ratio >= self.target)

    def record(self) -> dict[str, Any]:
        """The row as JSON; `why` only where the target was missed, "not profiled" where nobody looked."""
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


def interleaved(
    measures: Mapping[str, Callable[[], float]], rounds: int, *, warm: int = 1
) -> dict[str, tuple[float, float]]:
    """Median and relative spread of every measure, taken in turns, so that all see the same state of the machine.

    measures: by name, what measures once. rounds: how often each is called, after `warm` calls that do not count.
    """
    values: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(warm + rounds):
        for name, measure in measures.items():
            value = measure()
            if turn >= warm:
                values[name].append(value)
    return {name: median_and_spread(measured) for name, measured in values.items()}


def paired(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Ours, theirs and the spread of measures that were taken in turns and differ from turn to turn.

    ours: the median. theirs: such that ours / theirs is the median of the turns' ratios, to which one disturbed turn
    does little; the ratio of two medians may be of two different turns. spread: of the turns' ratios.
    """
    ratio, spread = median_and_spread([our / their for our, their in zip(ours, theirs, strict=True)])
    middle = statistics.median(ours)
    return middle, middle / ratio, spread


def median_and_spread(values: list[float]) -> tuple[float, float]:
    """The median, and half the interquartile range as a share of it."""
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return middle, 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, (high - low) / 2 / abs(middle)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, then a sentence for each target that was missed."""
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
    """Writes the rows of one benchmark into today's file of this device, replacing its older ones; returns the path."""
    setting = surroundings()
    path = folder / f"{time.strftime('%Y-%m-%d')}-{slug(setting['device'])}.json"
    held = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    others = [row for row in held if row["benchmark"] != benchmark]
    mark = {"benchmark": benchmark, "commit": setting.pop("commit")}
    setting["rows"] = sorted(others + [mark | row for row in rows], key=lambda row: row["benchmark"])
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(setting, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def threads() -> int:
    """The CPU threads that ours and theirs may use alike: OMP_NUM_THREADS, or all there are."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def surroundings() -> dict[str, Any]:
    """Machine, versions and commit of a measurement; the device is the first GPU, or the CPU."""
    import torch  # here: a benchmark without torch starts at once

    cpu = cpu_name()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "device": gpu or cpu,
        "cpu": cpu,
        "gpu": gpu,
        "machine": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads(),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": dict(sorted(_versions().items())),
    }


def cpu_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def slug(name: str) -> str:
    """A name as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def _versions() -> dict[str, str]:
    wanted = {"torch", "deepspeed", "numpy", "triton", "snakemake", "entmax"}
    return {package.name: package.version for package in distributions() if package.name.lower() in wanted}


def _commit() -> str:
    """The commit that is checked out, with a plus where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
