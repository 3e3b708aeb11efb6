"""What a finished workflow says on the terminal: the main table, the verdicts, and where the report is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tabulate import tabulate

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import metric
from reluformer.paper.notes import footer, toy_stamp
from reluformer.paper.records import records
from reluformer.paper.tables import cells, shown_table


def overview(experiment: Experiment, results: Path) -> str:
    """The main study's table with its notes, the count of verdicts, and the report's path, as text."""
    study = main_study(experiment)
    config = experiment.studies[study]
    metrics = [metric(name) for name in config.columns]
    frame = records(experiment, study, metrics, results)
    shown = shown_table(cells(frame, config, metrics), config, metrics)
    rows = [list(row) for row in shown.astype(str).itertuples(index=False)]
    table = tabulate(rows, headers=list(shown.columns), tablefmt="simple", disable_numparse=True, maxheadercolwidths=14)
    stamp = toy_stamp(experiment)
    notes = [*([stamp] if stamp else []), *footer(experiment, study, frame, results)]
    parts = [config.title, table, "\n".join(notes)]
    claims = results / "paper" / "claims.json"
    if claims.is_file():
        counts = Counter(claim["verdict"] for claim in json.loads(claims.read_text(encoding="utf-8"))["claims"])
        mark = "Verdicts (toy)" if experiment.config.toy else "Verdicts"
        parts.append(f"{mark}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}; see {claims}")
    page = results / "paper" / "index.html"
    parts.append(f"Report: {page}" if page.is_file() else f"Report: not built yet ({page})")
    return "\n\n".join(parts)


def main_study(experiment: Experiment) -> str:
    """The study marked `main`; the first where none is."""
    return next((name for name, study in experiment.studies.items() if study.main), next(iter(experiment.studies)))
