"""What is measured, from the experiment's configuration alone."""

from __future__ import annotations

from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig
from reluformer.config.settings import Strict
from reluformer.config.studies import MeasuringConfig


class MeasuringPlan(Strict):
    """A measured study: its points, and each system's run, the model with vocabulary. The first is the baseline."""

    study: str
    measured: MeasuringConfig
    runs: list[RunConfig]


def measuring_plan(experiment: Experiment) -> MeasuringPlan | None:
    """The plan of the experiment's measured study; none where it has none."""
    name = experiment.measured_study
    if name is None:
        return None
    runs = []
    for config in experiment.measured_systems():
        vocabulary = experiment.dataset(config.dataset).corpus.vocabulary
        model = config.model.model_copy(update={"vocabulary": vocabulary})
        runs.append(config.model_copy(update={"model": model}))
    measured = experiment.studies[name].measured
    assert measured is not None
    return MeasuringPlan(study=name, measured=measured, runs=runs)
