"""README.md of a record: what was found, with tables and figures, as a page that GitHub shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, SUMMARY
from reluformer.config.run import Run
from reluformer.paper.index import ALT, summary
from reluformer.paper.notes import SOURCE_NOTE, toy_stamp
from reluformer.paper.plots.training_curves import tried
from reluformer.paper.provenance import provenance
from reluformer.paper.quotes import Quotes
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
    quotes = Quotes(experiment, record, ".")
    judged = quotes.judged
    shown = [name for name in experiment.studies if has_results(experiment, name, record)]
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        "\n".join(f"- {sentence}" for sentence in summary(judged, len(quotes.done), len(experiment.runs))),
        *(["## The claims", quotes.claims(), SOURCE_NOTE] if judged else []),
        *(part for name in shown for part in _study(experiment, name, record)),
        *_unbuilt([name for name in experiment.studies if name not in shown]),
        *_tuning(quotes),
        *_provenance(quotes, runs),
        "## Files",
        FILES.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def has_results(experiment: Experiment, study: str, record: Path) -> bool:
    """Whether a study has a run in the record, or the record has what it measured."""
    if experiment.studies[study].measured:
        return (record / "paper" / "measured.json").is_file()
    return any((record / "runs" / run.path / SUMMARY).is_file() for run in experiment.study_runs(study))


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


def _tuning(quotes: Quotes) -> list[str]:
    """The tuning runs: what each tried, and what it reached."""
    rows = []
    for run in quotes.tuning:
        result = quotes.summary(run)
        numbers = [result.get(key) for key in ("best_valid_bleu", "best_valid_loss")]
        shown = ["–" if value is None else f"{value:.2f}" for value in numbers]
        rows.append((run.dataset, split_system(run.system).base, tried(run), *shown, result.get("status", "unknown")))
    if not rows:
        return []
    columns = ["dataset", "system", "tried", "validation BLEU", "validation loss", "status"]
    return [
        "## Tuning",
        f"{len(rows)} runs, whose scores choose each system's constants.",
        "![Validation BLEU of the tuning runs: a panel for each system, a line for each run](paper/figures/tuning.svg)",
        pipe_table(pd.DataFrame(rows, columns=columns)),
    ]


def _provenance(quotes: Quotes, runs: Sequence[Run]) -> list[str]:
    sources, record = provenance(quotes.experiment, quotes.record, runs), quotes.record
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        folder = record / "runs" / run.path
        status = quotes.summary(run).get("status", "unknown")
        counts[run.dataset, f"{status}{' and scored' if (folder / SCORES).is_file() else ''}"] += 1
    archives = [(one["corpus"], one["name"], f"{one['bytes']:,}", f"`{one['sha256']}`") for one in sources["archives"]]
    environment = [
        f"- {title}: {description} ({number} runs)"
        for title, key in (("code", "code"), ("packages", "packages"), ("machine", "machines"))
        for description, number in sources[key].items()
    ]
    return [
        "## Runs",
        pipe_table(pd.DataFrame([(*key, n) for key, n in counts.items()], columns=["dataset", "runs", "number"])),
        "## Text",
        quotes.text(),
        pipe_table(pd.DataFrame(archives, columns=["corpus", "file", "bytes", "sha256"])),
        "## Made with",
        "\n".join(environment),
    ]
