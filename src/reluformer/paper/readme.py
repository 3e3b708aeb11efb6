"""README.md of a record: what was found, with tables and figures, as a page that GitHub shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, SUMMARY
from reluformer.config.run import Run
from reluformer.config.settings import read_json
from reluformer.paper.claims import label
from reluformer.paper.index import ALT, summary
from reluformer.paper.notes import SOURCE_NOTE, reported, toy_stamp
from reluformer.paper.plots.training_curves import tried
from reluformer.paper.provenance import provenance
from reluformer.paper.record import ended_runs
from reluformer.paper.tables import pipe_table

FILES = """\
| file | what |
|---|---|
| `experiment.json` | the configuration: `reluformer ... --config experiment.json` reads it |
| `runs/D/S/seedN/` | a run: settings, log, scores; `counts.npz`, which scores and p-values come from; measures |
| `corpora/D/` | where the text came from, with checksums; pairs at each step of cleaning |
| `tuning/` | the runs that the constants were chosen by |
| `paper/` | tables, figures and verdicts; `make record` computes them anew and compares |
| `README.md` | this page, from the files above |

No weights and no text are in it; attention maps are of text that may be passed on.
"""


def readme(experiment: Experiment, record: Path) -> str:
    """Returns README.md of a record whose paper is built. Raises `SettingsError` for a broken file in it."""
    runs, stamp = ended_runs(record), toy_stamp(experiment)
    judged = (read_json(record / "paper" / "claims.json") or {"claims": []})["claims"]
    done = len(set(runs) & set(experiment.runs))
    shown = [name for name in experiment.studies if has_results(experiment, name, record)]
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        "\n".join(f"- {sentence}" for sentence in summary(judged, done, len(experiment.runs))),
        *_claims(judged, record),
        *(part for name in shown for part in _study(experiment, name, record)),
        *_unbuilt([name for name in experiment.studies if name not in shown]),
        *_tuning(experiment, runs, record),
        *_provenance(experiment, runs, record),
        "## Files",
        FILES.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def has_results(experiment: Experiment, study: str, record: Path) -> bool:
    """Whether a study has a run in the record, or the record has what it measured."""
    if experiment.studies[study].measured:
        return (record / "paper" / "measured.json").is_file()
    return any((record / "runs" / run.path / SUMMARY).is_file() for run in experiment.study_runs(study))


def tuning_runs(experiment: Experiment, runs: Sequence[Run]) -> list[Run]:
    """Returns those of the runs that tune the experiment's systems."""
    return [run for run in runs if run.seed == experiment.tuning.config.seed and run not in experiment.runs]


def _claims(judged: Sequence[dict[str, Any]], record: Path) -> list[str]:
    rows = []
    for claim in judged:
        ours = "; ".join(dict.fromkeys(rule["ours"] for rule in claim["rules"])) or claim["rests_on"]
        table = f"paper/tables/{claim['study']}.md"
        rests = f"[{label(claim)}]({table})" if (record / table).is_file() else label(claim)
        rows.append((f"{claim['sentence']} ({claim['source']})", reported(claim["reported"]) or "–", ours, rests))
    if not rows:
        return []
    frame = pd.DataFrame(rows, columns=["claim", "reported", "ours", "verdict"])
    return ["## The claims", pipe_table(frame), SOURCE_NOTE]


def _study(experiment: Experiment, name: str, record: Path) -> list[str]:
    """A study's table with its notes, and its figures."""
    study = experiment.studies[name]
    title, _, table = (record / "paper" / "tables" / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")
    parts = [f"## {title.lstrip('# ')}", study.question, table.replace("\n## ", "\n### ").strip()]
    for figure, settings in study.figures.items():
        path = f"paper/figures/{name}-{figure}.svg"
        if (record / path).is_file():
            parts.append(f"![{settings.title}: {ALT[settings.kind]}]({path})")
    return parts


def _unbuilt(names: Sequence[str]) -> list[str]:
    links = ", ".join(f"[{name}](paper/tables/{name}.md)" for name in names)
    return [f"No run yet of: {links}."] if names else []


def _tuning(experiment: Experiment, runs: Sequence[Run], record: Path) -> list[str]:
    """The tuning runs: what each tried, and what it reached."""
    rows = []
    for run in tuning_runs(experiment, runs):
        result = read_json(record / "runs" / run.path / SUMMARY) or {}
        numbers = [result.get(key) for key in ("best_valid_bleu", "best_valid_loss")]
        shown = ["–" if value is None else f"{value:.2f}" for value in numbers]
        rows.append((run.dataset, run.system.partition("+")[0], tried(run), *shown, result.get("status", "unknown")))
    if not rows:
        return []
    columns = ["dataset", "system", "tried", "validation BLEU", "validation loss", "status"]
    return [
        "## Tuning",
        f"{len(rows)} runs, whose scores choose each system's constants.",
        "![Validation BLEU of the tuning runs: a panel for each system, a line for each run](paper/figures/tuning.svg)",
        pipe_table(pd.DataFrame(rows, columns=columns)),
    ]


def _provenance(experiment: Experiment, runs: Sequence[Run], record: Path) -> list[str]:
    sources = provenance(experiment, record, runs)
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        folder = record / "runs" / run.path
        status = (read_json(folder / SUMMARY) or {}).get("status", "unknown")
        counts[run.dataset, f"{status}{' and scored' if (folder / SCORES).is_file() else ''}"] += 1
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
    return [
        "## Runs",
        pipe_table(pd.DataFrame([(*key, n) for key, n in counts.items()], columns=["dataset", "runs", "number"])),
        "## Text",
        pipe_table(pd.DataFrame(pairs, columns=["corpus", "split", "pairs kept"])),
        pipe_table(pd.DataFrame(archives, columns=["corpus", "file", "bytes", "sha256"])),
        "## Made with",
        "\n".join(environment),
    ]
