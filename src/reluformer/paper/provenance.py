"""Where an experiment's numbers come from: code, packages, machines and text; README.md of a record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, SUMMARY
from reluformer.config.run import Run
from reluformer.files import write_text
from reluformer.paper.notes import toy_stamp
from reluformer.paper.runs import read_json
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
    counts = {"code": dict(code), "packages": dict(packages), "machines": dict(machines)}
    return {**counts, "archives": archives, "data": data}


def _machine(machine: dict[str, Any]) -> str:
    parts = [str(machine.get("cpu", "unknown processor")), f"{machine.get('cores', '?')} cores"]
    parts += [f"{number} × {name}" for name, number in Counter(machine.get("gpus") or []).items()]
    return ", ".join(parts)


def write_readme(experiment: Experiment, record: Path) -> None:
    """Writes `README.md` of a record. Raises `SettingsError` for a broken file in it."""
    sources = provenance(experiment, record)
    runs: Counter[tuple[str, str]] = Counter()
    for path in sorted((record / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        status = (read_json(path) or {}).get("status", "unknown")
        scored = " and scored" if (path.parent / SCORES).is_file() else ""
        runs[run.dataset, f"{status}{scored}"] += 1
    archives = [(one["corpus"], one["name"], f"{one['bytes']:,}", f"`{one['sha256']}`") for one in sources["archives"]]
    pairs = [
        (name, split, f"{counts['pairs']:,}")
        for name in experiment.datasets
        for split, counts in (read_json(record / "corpora" / name / "statistics.json") or {}).get("splits", {}).items()
    ]
    made_with = [
        f"- {title}: {description} ({number} runs)"
        for title, key in (("code", "code"), ("packages", "packages"), ("machine", "machines"))
        for description, number in sources[key].items()
    ]
    stamp = toy_stamp(experiment)
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        FILES.rstrip(),
        f"## Runs\n\n{_table([(*key, number) for key, number in runs.items()], 'dataset', 'runs', 'number')}",
        f"## Text\n\n{_table(pairs, 'corpus', 'split', 'pairs kept')}",
        _table(archives, "corpus", "file", "bytes", "sha256"),
        "## Made with\n\n" + "\n".join(made_with),
    ]
    write_text(record / "README.md", "\n\n".join(parts) + "\n")


def _table(rows: list[tuple[Any, ...]], *columns: str) -> str:
    return pipe_table(pd.DataFrame(rows, columns=list(columns)))
