"""One study from its runs to its files. Cheap to import: what draws and tabulates is loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path

from reluformer.experiment import Experiment
from reluformer.paper.outputs import study_inputs, study_outputs
from reluformer.settings import SettingsError, nearest

__all__ = ["build_study", "study_inputs", "study_outputs"]


def build_study(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/tables/STUDY.{csv,md,tex,html}` and `results/paper/figures/STUDY-FIGURE.{svg,png}`.

    Runs that are not there leave holes that say so. Raises `SettingsError` for an unknown study.
    """
    if study not in experiment.studies:
        raise SettingsError(f"study: {study!r}: unknown study{nearest(study, experiment.studies)}")
    from reluformer.paper.figures import draw
    from reluformer.paper.study import write_tables

    write_tables(experiment, study, results)
    draw(experiment, study, results)
