"""README.md of a record: what is in it, on which text and machines it rests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SUMMARY
from reluformer.config.run import Run
from reluformer.files import write_text
from reluformer.paper.formats import pipe_table
from reluformer.paper.notes import toy_stamp
from reluformer.paper.provenance import provenance
from reluformer.paper.record import SCORES
from reluformer.paper.records import read_json

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


def write_page(experiment: Experiment, record: Path) -> None:
    """Writes `README.md` into a record. Raises `SettingsError` for a broken file in it."""
    told = provenance(experiment, record)
    runs: Counter[tuple[str, str]] = Counter()
    for path in sorted((record / "runs").glob(f"*/*/seed*/{SUMMARY}")):
        run = Run.parse("/".join(path.parts[-4:-1]))
        state = (read_json(path) or {}).get("status", "unknown")
        scored = " and scored" if (path.parent / SCORES).is_file() else ""
        runs[run.dataset, f"{state}{scored}"] += 1
    counted = pd.DataFrame([(*key, number) for key, number in runs.items()], columns=["dataset", "runs", "number"])
    archives = pd.DataFrame(
        [(one["corpus"], one["name"], f"{one['bytes']:,}", f"`{one['sha256']}`") for one in told["archives"]],
        columns=["corpus", "file", "bytes", "sha256"],
    )
    stamp = toy_stamp(experiment)
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        FILES.rstrip(),
        f"## Runs\n\n{pipe_table(counted)}",
        f"## Text\n\n{_pairs(experiment, record)}\n\n{pipe_table(archives)}",
        "## Made with\n\n" + "\n".join(_lines(told)),
    ]
    write_text(record / "README.md", "\n\n".join(parts) + "\n")


def _pairs(experiment: Experiment, record: Path) -> str:
    """Pairs kept of each corpus, by split."""
    rows = []
    for name in experiment.datasets:
        found = read_json(record / "corpora" / name / "statistics.json") or {}
        for split, counts in found.get("splits", {}).items():
            rows.append((name, split, f"{counts['pairs']:,}"))
    return pipe_table(pd.DataFrame(rows, columns=["corpus", "split", "pairs kept"]))


def _lines(told: dict[str, dict[str, int]]) -> list[str]:
    names = {"code": "code", "packages": "packages", "machines": "machine"}
    return [f"- {title}: {what} ({number} runs)" for key, title in names.items() for what, number in told[key].items()]
