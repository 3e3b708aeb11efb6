"""Cores, memory and disk, needed against free."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from reluformer.cli.checks.check import Check

GB = 1 << 30
DEMO_MEMORY, PAPER_MEMORY = 2 * GB, 16 * GB
"""Free memory. A training of the demo was measured to take 0.45 GB; two go on beside Snakemake. 16 GB is assumed."""
DEMO_DISK, PAPER_DISK = 1 * GB, 110 * GB
"""What `make demo` and the whole paper take, beside the virtual environment that is installed already.

`reluformer plan` counts the paper's.
"""


def cores() -> Check:
    """The cores that this process may use."""
    count = len(os.sched_getaffinity(0))
    if count >= 2:
        return Check("cores", "ok", f"{count}", "so many trainings at a time on the CPU, or as many processes of one")
    means = "the demo takes about twice its 18 minutes"
    return Check("cores", "warn", "1", means, "give it more cores where that is possible (taskset, --cpus-per-task)")


def memory(available: int | None = None) -> Check:
    """Memory that is free now, in this process's container where it is in one. Bytes."""
    free = _available() if available is None else available
    found = f"{free / GB:.1f} GB free"
    mend = "end other programs, or ask for more memory (--mem, the container's limit)"
    if free < DEMO_MEMORY:
        means = f"the demo's two trainings at a time and Snakemake want {DEMO_MEMORY / GB:.0f} GB"
        return Check("memory", "missing", found, means, f"{mend}; with half of it: make demo CORES=1", needed=True)
    if free < PAPER_MEMORY:
        means = f"enough for the demo; preparing Europarl wants {PAPER_MEMORY / GB:.0f} GB with 16 workers"
        return Check("memory", "warn", found, means, f"{mend}, or prepare with fewer cores (--set-threads prepare=4)")
    return Check("memory", "ok", found, "enough for the demo and for preparing the paper's corpora")


def disk(folder: Path, toy: bool, free: int | None = None) -> Check:
    """Free disk in the project's folder, against what its configuration needs. Bytes."""
    free = shutil.disk_usage(folder).free if free is None else free
    found = f"{free / GB:.0f} GB free"
    mend = "free some, or put results/, resources/ and checkpoints/ elsewhere as symbolic links"
    if free < DEMO_DISK:
        return Check("disk", "missing", found, f"the demo writes up to {DEMO_DISK / GB:.0f} GB", mend, needed=True)
    if free < PAPER_DISK and not toy:
        means = f"enough for the demo; the paper takes up to about {PAPER_DISK / GB:.0f} GB, checkpoints included"
        return Check("disk", "warn", found, means, mend)
    return Check("disk", "ok", found, "enough for " + ("the demo" if toy else "the demo and the paper"))


def _available() -> int:
    """Free memory of the machine, or what is left of this control group's limit where that is less."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return free if limit == "max" else min(free, int(limit) - used)
    except (OSError, ValueError):
        return free
