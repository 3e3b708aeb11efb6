"""The plan of the measured study of the paper's configuration, and of one without it."""

from pathlib import Path

from reluformer.benchmark.plan import measuring_plan
from reluformer.config.experiment import Experiment
from reluformer.config.settings import merge, read_yaml

CONFIG = Path(__file__).parents[3] / "config"


def test_the_paper_measures_every_attention_at_every_length():
    experiment = Experiment.from_files(CONFIG / "config.yaml")
    plan = measuring_plan(experiment)
    assert plan.study == "speed-by-length"
    assert {128, 256, 512, 1024, 2048, 4096} <= set(plan.measured.lengths)
    assert [run.system for run in plan.runs] == experiment.studies["attention-activation"].systems
    assert plan.runs[0].system == "transformer"
    assert {run.model.vocabulary for run in plan.runs} == {10000}
    assert experiment.study_runs(plan.study) == []


def test_without_a_measured_study():
    config = merge(read_yaml(CONFIG / "config.yaml"), {"only": ["ablation"]})
    assert measuring_plan(Experiment(config, CONFIG)) is None
