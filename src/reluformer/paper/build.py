"""Builds one study: its table in every format and its figures, from what is there of its runs."""

from __future__ import annotations

from pathlib import Path

from reluformer.experiment import Experiment
from reluformer.paper import page
from reluformer.paper.figures import draw
from reluformer.paper.formats import latex, markdown, write_text
from reluformer.paper.metrics import metric
from reluformer.paper.notes import answer, footer, reported_lines, toy_stamp
from reluformer.paper.outputs import read_claims, study_inputs, study_outputs
from reluformer.paper.records import records
from reluformer.paper.tables import cells, raw_table, shown_table
from reluformer.settings import SettingsError, nearest

__all__ = ["build_study", "study_inputs", "study_outputs"]


def build_study(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/tables/STUDY.{csv,md,tex,html}` and `results/paper/figures/STUDY-FIGURE.{svg,png}`.

    Runs that are not there leave holes that say so. Raises `SettingsError` for an unknown study.
    """
    if study not in experiment.studies:
        raise SettingsError(f"study: {study!r}: unknown study{nearest(study, experiment.studies)}")
    config = experiment.studies[study]
    metrics = [metric(name) for name in config.columns]
    wanted = [*metrics, *([metric(config.answer.metric)] if config.answer else [])]
    frame = records(experiment, study, list(dict.fromkeys(wanted)), results)
    table = cells(frame, config, metrics)
    shown = shown_table(table, config, metrics)
    stamp, notes = toy_stamp(experiment), footer(experiment, study, frame, results)
    if config.across:
        notes.append(f"Figures in the cells: {'; '.join(one.title for one in metrics)}.")
    notes += reported_lines(read_claims(experiment), study)
    reply = answer(config.answer, frame) if config.answer else None
    lines = [*([reply] if reply else []), *notes]
    folder = results / "paper" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    html = page.render(
        config.title, config.question, [("", shown)], [n for n in notes if n != stamp], stamp=stamp, answer=reply
    )
    write_text(folder / f"{study}.csv", raw_table(table, metrics).to_csv(index=False))
    write_text(folder / f"{study}.md", markdown(config.title, shown, lines))
    write_text(folder / f"{study}.tex", latex(study, config.title, shown, lines))
    write_text(folder / f"{study}.html", html)
    draw(experiment, study, results)
