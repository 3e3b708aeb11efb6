"""Where an experiment's numbers come from: code, packages, machines and text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SUMMARY
from reluformer.config.run import Run
from reluformer.config.settings import read_json


def provenance(experiment: Experiment, results: Path, runs: Sequence[Run] | None = None) -> dict[str, Any]:
    """Returns the provenance of the runs and prepared corpora that exist; `runs` by default the experiment's.

    `code`, `packages`, `machines`: the number of runs by description; `archives`: a `{corpus, name, published, sha256,
    bytes}` each; `data`: the sha256 of every corpus file that a training read, by its name.
    """
    counts: dict[str, Counter[str]] = {"code": Counter(), "packages": Counter(), "machines": Counter()}
    data: dict[str, str] = {}
    for run in experiment.runs if runs is None else runs:
        summary = read_json(results / "runs" / run.path / SUMMARY)
        if summary is not None:
            counts["code"][str(summary.get("code_version", "unknown"))] += 1
            counts["packages"][", ".join(" ".join(one) for one in summary.get("versions", {}).items())] += 1
            counts["machines"][_machine(summary.get("machine", {}))] += 1
            data |= summary.get("data", {})
    archives = [
        {"corpus": corpus, **archive}
        for corpus in experiment.datasets
        for archive in (read_json(results / "corpora" / corpus / "provenance.json") or {}).get("archives", [])
    ]
    return {**{key: dict(count) for key, count in counts.items()}, "archives": archives, "data": data}


def _machine(machine: dict[str, Any]) -> str:
    parts = [str(machine.get("cpu", "unknown processor")), f"{machine.get('cores', '?')} cores"]
    parts += [f"{number} × {name}" for name, number in Counter(machine.get("gpus") or []).items()]
    return ", ".join(parts)
