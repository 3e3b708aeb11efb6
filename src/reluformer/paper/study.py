"""Builds a study's tables and figures from the runs that exist; empty cells say what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import metric
from reluformer.config.run import Run
from reluformer.files import write_text
from reluformer.paper.differences import differences, differences_table, legend, marks
from reluformer.paper.notes import answer, footer, is_tuned, reported_lines, toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS, read_claims
from reluformer.paper.pages import render_table
from reluformer.paper.plots import attention_maps, memories, systems, training_curves
from reluformer.paper.plots.base import Drawing, Plot, finish, save, settle, style
from reluformer.paper.runs import read_runs
from reluformer.paper.tables import cells, latex, markdown, raw_table, shown_table

KINDS: dict[str, Callable[[Plot], Drawing]] = {
    "lines": systems.draw_lines,
    "bars": systems.draw_bars,
    "layers": memories.draw_layers,
    "buckets": systems.draw_buckets,
    "top-share": memories.draw_top_shares,
    "training-curves": training_curves.draw,
    "learning-curves": training_curves.draw,
    "alignment-curves": training_curves.draw,
    "heat-map": systems.draw_heat_map,
    "variance-law": memories.draw_variance_law,
    "attention-maps": attention_maps.draw,
}
"""The function that draws each kind of figure."""
DIGITS = "%.12g"
"""The format of numbers in CSV files: the last bits of a double differ between processors."""


def build_study(experiment: Experiment, study: str, results: Path) -> None:
    """Writes a study's tables and figures. Raises `SettingsError` for an unknown study."""
    write_tables(experiment, study, results)
    draw_figures(experiment, study, results)


def write_tables(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/tables/STUDY.{csv,md,tex,html}` and `STUDY-differences.csv`.

    The CSV has raw numbers, the other formats are for people. `STUDY-differences.csv` compares every row with the
    baseline, with intervals and p-values.
    """
    config = experiment.study(study)
    metrics = [metric(name) for name in config.columns if is_tuned(experiment, study) or not name.startswith("tuned.")]
    wanted = [*metrics, *([metric(config.answer.metric)] if config.answer else [])]
    frame = read_runs(experiment, study, list(dict.fromkeys(wanted)), results)
    tested = differences(experiment, study, frame, metrics, results)
    table = cells(frame, config, metrics, marks(tested))
    shown = shown_table(table, config, metrics)
    notes = [*footer(experiment, study, frame, results), *legend(experiment, study, tested)]
    if config.across:
        notes.append(f"In the cells: {'; '.join(one.title for one in metrics)}.")
    notes += reported_lines(read_claims(experiment), study)
    stamp, reply = toy_stamp(experiment), answer(config.answer, frame) if config.answer else None
    lines = [*([stamp] if stamp else []), *([reply] if reply else []), *notes]
    against = differences_table(experiment, study, tested, metrics)
    sections = [("", shown), *against.items()]
    files = {
        ".csv": raw_table(table, metrics).to_csv(index=False, float_format=DIGITS),
        "-differences.csv": tested.to_csv(index=False, float_format=DIGITS),
        ".md": markdown(config.title, shown, lines, against),
        ".tex": latex(study, config.title, shown_table(table, config, metrics, "short"), lines),
        ".html": render_table(config.title, config.question, sections, notes, stamp=stamp, answer=reply),
    }
    for ending, text in files.items():
        write_text(results / "paper" / "tables" / f"{study}{ending}", text)


def draw_figures(experiment: Experiment, study: str, results: Path) -> None:
    """Writes every figure of a study as `results/paper/figures/STUDY-FIGURE.{svg,pdf,png}`."""
    for name, config in experiment.studies[study].figures.items():
        with style():
            drawing = KINDS[config.kind](Plot(experiment, study, config, results))
            write_figure(
                drawing, config.title, toy_stamp(experiment), results / "paper" / "figures" / f"{study}-{name}"
            )


def draw_tuning(experiment: Experiment, runs: Sequence[Run], results: Path) -> None:
    """Writes the curves of tuning runs as `results/paper/figures/tuning.{svg,pdf,png}`."""
    with style():
        drawing = training_curves.draw_tuning(experiment, runs, results)
        title = "Validation BLEU of the tuning runs, by update"
        write_figure(drawing, title, toy_stamp(experiment), results / "paper" / "figures" / "tuning")


def write_figure(drawing: Drawing, title: str, stamp: str | None, stem: Path) -> None:
    """Writes a figure in every format, as `stem` with the format's suffix."""
    figure = finish(drawing, title, stamp)
    engine = figure.get_layout_engine()
    assert engine is not None
    for _ in range(2):  # the first layout of a map, whose aspect is fixed, leaves its labels too little space
        engine.execute(figure)
    figure.set_layout_engine(None)  # laid out once for all formats
    settle(figure)
    for form in FIGURE_FORMATS:
        save(figure, stem.with_name(f"{stem.name}.{form}"))
