from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reluformer.cli import preflight
from reluformer.config.experiment import Experiment
from reluformer.config.settings import merge, read_yaml

ROOT = Path(__file__).parents[3]
NONE = Path("none")


@pytest.fixture
def paper(monkeypatch):
    """The paper's experiment on a machine without GPU that multiplies at 200 GFLOP/s; changes come as arguments."""
    monkeypatch.setattr(preflight, "visible_devices", list)
    monkeypatch.setattr(preflight, "matrix_speed", lambda: 200e9)
    config = read_yaml(ROOT / "config" / "config.yaml")

    def make(**changes):
        return Experiment(merge(config, changes), ROOT / "config")

    return make


def test_the_paper_is_refused_with_its_cost_and_what_to_do_instead(paper):
    experiment = paper(seeds=[1], only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    text = preflight.refusal(experiment, trainings, NONE)
    assert text is not None and text.startswith(f"No GPU here: {len(trainings)} training(s)")
    for words in ("make demo", "force=true", "slurm", "reluformer doctor", "Nothing was started"):
        assert words in text


def test_what_is_not_refused(paper, monkeypatch):
    experiment = paper(only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    assert preflight.refusal(experiment, [], NONE) is None
    assert preflight.refusal(paper(only=["ffn-activation"], toy=True), trainings, NONE) is None
    assert preflight.refusal(paper(only=["ffn-activation"], force=True), trainings, NONE) is None
    quick = paper(only=["ffn-activation"], training={"updates": 10})
    assert preflight.refusal(quick, list(quick.runs.values()), NONE) is None
    monkeypatch.setattr(preflight, "visible_devices", lambda: ["0"])
    assert preflight.refusal(experiment, trainings, NONE) is None


def test_flops_are_those_of_the_plan_and_none_where_no_sizes_are_known(paper, tmp_path):
    experiment = paper(only=["ffn-activation"])
    config = next(iter(experiment.runs.values()))
    weights = 6 * (4 * 512**2 + 2 * 512 * 1024) + 6 * (8 * 512**2 + 2 * 512 * 1024) + 512 * 10_000
    flops = preflight.training_flops(experiment, [config], tmp_path)
    assert flops == pytest.approx(6 * weights * 4096 * 50_000, rel=0.15)  # and the attentions'
    assert preflight.training_flops(experiment, [config, config], tmp_path) == pytest.approx(2 * flops)
    dataset = experiment.datasets["iwslt14"]
    experiment.datasets["iwslt14"] = dataset.model_copy(update={"sizes": None})
    assert preflight.training_flops(experiment, [config], tmp_path) == 0


def test_this_machines_speed_is_a_speed():
    assert 1e8 < preflight.matrix_speed(256) < 1e15


def test_a_snakemake_that_asks_it_does_not_load_torch():
    code = "import sys, reluformer.cli.preflight; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
