"""Where an experiment's numbers come from: code, packages, machines, and the checksums of what was read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SUMMARY
from reluformer.paper.records import read_json


def provenance(experiment: Experiment, results: Path) -> dict[str, Any]:
    """What the runs that are there and the prepared corpora say of themselves.

    `code`, `packages`, `machines`: `{text: runs that say so}`; `archives`: one `{corpus, name, published, sha256,
    bytes}` for each; `data`: the sha256 of every corpus file that a training read, by its name.
    """
    code: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    machines: Counter[str] = Counter()
    data: dict[str, str] = {}
    for run in experiment.runs:
        summary = read_json(results / "runs" / run.path / SUMMARY)
        if summary is None:
            continue
        code[str(summary.get("code_version", "unknown"))] += 1
        packages[", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())] += 1
        machines[_machine(summary.get("machine", {}))] += 1
        data |= summary.get("data", {})
    archives = [
        {"corpus": corpus, **archive}
        for corpus in experiment.datasets
        for archive in (read_json(results / "corpora" / corpus / "provenance.json") or {}).get("archives", [])
    ]
    counted = {"code": code, "packages": packages, "machines": machines}
    return {**{name: dict(found) for name, found in counted.items()}, "archives": archives, "data": data}


def _machine(found: dict[str, Any]) -> str:
    gpus = found.get("gpus") or []
    parts = [str(found.get("cpu", "unknown processor")), f"{found.get('cores', '?')} cores"]
    parts += [f"{number} × {name}" for name, number in Counter(gpus).items()]
    return ", ".join(parts)
