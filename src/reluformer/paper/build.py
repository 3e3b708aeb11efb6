"""One study from its runs to its files. Cheap to import: what draws and tabulates is loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.config.settings import SettingsError, nearest
from reluformer.paper.outputs import study_inputs, study_outputs

__all__ = ["build_significance", "build_study", "study_inputs", "study_outputs"]


def build_study(experiment: Experiment, study: str, results: Path) -> None:
    """Writes a study's tables, `results/paper/tables/STUDY*`, and figures, `results/paper/figures/STUDY-FIGURE.*`.

    Runs that are not there leave holes that say so. Raises `SettingsError` for an unknown study.
    """
    _check(experiment, study)
    from reluformer.paper.figures import draw
    from reluformer.paper.study import write_tables

    write_tables(experiment, study, results)
    draw(experiment, study, results)


def build_significance(experiment: Experiment, study: str, results: Path) -> None:
    """Writes a study's paired tests, `results/paper/significance/STUDY.json`, from the runs that are there.

    Raises `SettingsError` for an unknown study, or for runs that were not scored on the same segments.
    """
    _check(experiment, study)
    from reluformer.paper.paired import write_significance

    write_significance(experiment, study, results)


def _check(experiment: Experiment, study: str) -> None:
    if study not in experiment.studies:
        raise SettingsError(f"study: {study!r}: unknown study{nearest(study, experiment.studies)}")
