from __future__ import annotations

from pathlib import Path

import pytest

from reluformer import guard
from reluformer.experiment import Experiment
from reluformer.settings import merge, read_yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paper(monkeypatch):
    """The paper's experiment on a machine without GPU that multiplies at 200 GFLOP/s; changes come as arguments."""
    monkeypatch.setattr(guard, "visible_devices", list)
    monkeypatch.setattr(guard, "matrix_speed", lambda: 200e9)
    config = read_yaml(ROOT / "config" / "config.yaml")

    def make(**changes):
        return Experiment(merge(config, changes), ROOT / "config")

    return make


def test_the_paper_is_refused_with_its_cost_and_what_to_do_instead(paper):
    experiment = paper(seeds=[1], only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    text = guard.refusal(experiment, trainings)
    assert text is not None and text.startswith(f"No GPU here: {len(trainings)} training(s)")
    for words in ("make demo", "force=true", "slurm", "reluformer doctor", "Nothing was begun"):
        assert words in text


def test_what_is_not_refused(paper, monkeypatch):
    experiment = paper(only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    assert guard.refusal(experiment, []) is None
    assert guard.refusal(paper(only=["ffn-activation"], toy=True), trainings) is None
    assert guard.refusal(paper(only=["ffn-activation"], force=True), trainings) is None
    quick = paper(only=["ffn-activation"], training={"updates": 10})
    assert guard.refusal(quick, list(quick.runs.values())) is None
    monkeypatch.setattr(guard, "visible_devices", lambda: ["0"])
    assert guard.refusal(experiment, trainings) is None


def test_flops_are_those_of_the_weights_and_the_attentions(paper):
    experiment = paper(only=["ffn-activation"])
    config = next(iter(experiment.runs.values()))
    vocabulary = guard.vocabulary(experiment, config)
    assert vocabulary == 10_000
    weights = 6 * (4 * 512**2 + 2 * 512 * 1024) + 6 * (8 * 512**2 + 2 * 512 * 1024) + 512 * vocabulary
    attentions = 12 * 30 * 512 * 18
    assert guard.training_flops(config, vocabulary) == (6 * weights + attentions) * 4096 * 50_000
    double = config.model_copy(update={"training": config.training.model_copy(update={"updates": 100_000})})
    assert guard.training_flops(double, vocabulary) == 2 * guard.training_flops(config, vocabulary)


def test_this_machines_speed_is_a_speed():
    assert 1e8 < guard.matrix_speed(256) < 1e15


@pytest.mark.parametrize(("hours", "words"), [(19, "19 hours"), (240, "10 days"), (8760 * 3, "3.0 years")])
def test_in_words(hours, words):
    assert guard.in_words(3600 * hours) == words
