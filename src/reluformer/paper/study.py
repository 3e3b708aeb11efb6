"""A study's table in every format, from what is there of its runs."""

from __future__ import annotations

from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import metric
from reluformer.files import write_text
from reluformer.paper.differences import differences, legend, marks
from reluformer.paper.differences import shown as differences_shown
from reluformer.paper.formats import latex, markdown
from reluformer.paper.notes import answer, footer, is_tuned, reported_lines, toy_stamp
from reluformer.paper.outputs import differences_file, read_claims
from reluformer.paper.page import render_table
from reluformer.paper.records import records
from reluformer.paper.tables import cells, raw_table, shown_table

DIGITS = "%.12g"
"""Of numbers in CSV files: the last bits of a double differ from processor to processor, and say nothing."""


def write_tables(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/tables/STUDY.{csv,md,tex,html}`: raw numbers as CSV, the others for people.

    `STUDY-differences.csv` has every row against the baseline, with intervals and p-values.
    """
    config = experiment.studies[study]
    metrics = [metric(name) for name in config.columns if is_tuned(experiment, study) or not name.startswith("tuned.")]
    wanted = [*metrics, *([metric(config.answer.metric)] if config.answer else [])]
    frame = records(experiment, study, list(dict.fromkeys(wanted)), results)
    tested = differences(experiment, study, frame, metrics, results)
    table = cells(frame, config, metrics, marks(tested))
    shown = shown_table(table, config, metrics)
    notes = [*footer(experiment, study, frame, results), *legend(experiment, study, tested)]
    if config.across:
        notes.append(f"In the cells: {'; '.join(one.title for one in metrics)}.")
    notes += reported_lines(read_claims(experiment), study)
    stamp, reply = toy_stamp(experiment), answer(config.answer, frame) if config.answer else None
    lines = [*([stamp] if stamp else []), *([reply] if reply else []), *notes]
    against = differences_shown(experiment, study, tested, metrics)
    sections = [("", shown), *against.items()]
    html = render_table(config.title, config.question, sections, notes, stamp=stamp, answer=reply)
    files = {
        "csv": raw_table(table, metrics).to_csv(index=False, float_format=DIGITS),
        "md": markdown(config.title, shown, lines, against),
        "tex": latex(study, config.title, shown_table(table, config, metrics, "short"), lines),
        "html": html,
    }
    write_text(Path(differences_file(study, str(results))), tested.to_csv(index=False, float_format=DIGITS))
    for form, text in files.items():
        write_text(results / "paper" / "tables" / f"{study}.{form}", text)
