"""Where an experiment's numbers come from: code, packages, machines and text; README.md of a record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, SUMMARY
from reluformer.config.settings import read_json
from reluformer.files import write_text
from reluformer.paper.notes import toy_stamp
from reluformer.paper.record import ended_runs
from reluformer.paper.tables import pipe_table

FILES = """\
| file | what |
|---|---|
| `experiment.json` | the configuration: `reluformer ... --config experiment.json` reads it |
| `runs/D/S/seedN/` | a run: settings, log, scores; `counts.npz`, which scores and p-values come from; measures |
| `corpora/D/` | where the text came from, with checksums; pairs at each step of cleaning |
| `tuning/` | the runs that the constants were chosen by |
| `paper/` | tables and verdicts; `make record` computes them anew and compares |

No weights and no text are in it; attention maps are of text that may be passed on.
"""


def provenance(experiment: Experiment, results: Path) -> dict[str, Any]:
    """Returns the provenance of the runs and prepared corpora that exist.

    `code`, `packages`, `machines`: the number of runs by description; `archives`: a `{corpus, name, published, sha256,
    bytes}` each; `data`: the sha256 of every corpus file that a training read, by its name.
    """
    counts: dict[str, Counter[str]] = {"code": Counter(), "packages": Counter(), "machines": Counter()}
    data: dict[str, str] = {}
    for run in experiment.runs:
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


def write_readme(experiment: Experiment, record: Path) -> None:
    """Writes `README.md` of a record. Raises `SettingsError` for a broken file in it."""
    sources, stamp = provenance(experiment, record), toy_stamp(experiment)
    runs: Counter[tuple[str, str]] = Counter()
    for run in ended_runs(record):
        folder = record / "runs" / run.path
        status = (read_json(folder / SUMMARY) or {}).get("status", "unknown")
        runs[run.dataset, f"{status}{' and scored' if (folder / SCORES).is_file() else ''}"] += 1
    archives = [(one["corpus"], one["name"], f"{one['bytes']:,}", f"`{one['sha256']}`") for one in sources["archives"]]
    pairs = [
        (name, split, f"{counts['pairs']:,}")
        for name in experiment.datasets
        for split, counts in (read_json(record / "corpora" / name / "statistics.json") or {}).get("splits", {}).items()
    ]
    environment = [
        f"- {title}: {description} ({number} runs)"
        for title, key in (("code", "code"), ("packages", "packages"), ("machine", "machines"))
        for description, number in sources[key].items()
    ]
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        FILES.rstrip(),
        "## Runs",
        pipe_table(pd.DataFrame([(*key, n) for key, n in runs.items()], columns=["dataset", "runs", "number"])),
        "## Text",
        pipe_table(pd.DataFrame(pairs, columns=["corpus", "split", "pairs kept"])),
        pipe_table(pd.DataFrame(archives, columns=["corpus", "file", "bytes", "sha256"])),
        "## Made with",
        "\n".join(environment),
    ]
    write_text(record / "README.md", "\n\n".join(parts) + "\n")
