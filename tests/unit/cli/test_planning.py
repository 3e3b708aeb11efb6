import io
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from reluformer.cli.costs import stated_speed
from reluformer.cli.jobs import Job
from reluformer.cli.planning import all_runs, all_sizes, critical_path, make_plan, show
from reluformer.config.experiment import Experiment

CONFIG = Path(__file__).parents[3] / "config"


@pytest.fixture(scope="module")
def planned(paper, tmp_path_factory):
    sizes = all_sizes(paper, tmp_path_factory.mktemp("corpora"))
    return cache(lambda devices: make_plan(paper, sizes, stated_speed("h100", 0.4), devices))


def test_the_papers_configuration_is_complete(paper):
    """Every system on sentences, every attention at every length and packing from both starts, three seeds each."""
    runs = Counter((run.dataset, run.system.split("+")[0]) for run in paper.runs)
    names = list(paper.systems)
    systems = set(names[: names.index("reluformer-decoder-cross") + 1])  # the others are not from the paper
    assert {system for dataset, system in runs if dataset == "iwslt14"} == systems
    partly = {system for system in systems if system.startswith("reluformer-")}  # ReLU in some of the attentions only
    attentions = systems - {"ffn-softmax", "ffn-softmax-layernorm", "attention-relu"} - partly
    for packing in ("within", "across"):
        for length in (128, 256, 512, 1024, 2048):
            systems_at_length = {system for dataset, system in runs if dataset == f"europarl7@{packing}-{length}"}
            assert systems_at_length == attentions, (packing, length)
    assert len({run.system for run in paper.study_runs("memory-size")}) == 3 * 9
    assert len({run.system for run in paper.study_runs("gamma")}) == 6
    # Three of the 27 sizes are the defaults, so those runs are shared; runs of γ and λ are not, as both are tuned.
    assert {run.seed for run in paper.runs} == {1, 2, 3} and len(paper.runs) == 3 * (
        9 + 24 + 6 + 12 + 3 + 4 + 4 + 6 + 6 + 2 * 60
    )


def test_totals_are_the_sums_of_the_runs(planned, paper):
    plan = planned(8)
    runs = all_runs(paper)
    assert plan["totals"]["runs"] == len(plan["runs"]) == len(runs) == len(paper.runs) + 6 * 9
    assert plan["totals"]["updates"] == sum(config.training.updates for config in runs.values())
    assert sum(row["tuning"] for row in plan["runs"]) == 6 * 9
    tuning = next(group for group in plan["groups"] if group["system"] == "reluformer (tuning)")
    assert (tuning["dataset"], tuning["runs"], tuning["updates"]) == ("iwslt14", 6, 6 * 12_500)
    on_gpus = sum(sum(seconds for step, seconds in row["seconds"].items() if step != "score") for row in plan["runs"])
    measured = plan["steps"]["measure"]
    assert measured["jobs"] == 1 and measured["seconds"] > 60
    assert plan["totals"]["device_hours"] == pytest.approx((on_gpus + measured["seconds"]) / 3600)
    assert sum(group["runs"] for group in plan["groups"]) == len(runs)
    json.dumps(plan, allow_nan=False)


def test_more_devices_take_less_time_down_to_the_critical_path(planned):
    one, eight, many = (planned(devices)["time"] for devices in (1, 8, 10_000))
    assert one["seconds"] > eight["seconds"] > many["seconds"] == pytest.approx(many["critical_path_seconds"])
    assert one["seconds"] == pytest.approx(3600 * planned(1)["totals"]["device_hours"])
    assert [part["job"].split(" ")[0] for part in one["critical_path"]][:7] == [
        *("prepare", *3 * ("train", "tuning_round"))
    ]


def test_the_critical_path_is_the_longest_chain():
    jobs = [Job("a", ""), Job("b", "", after=("a",)), Job("c", ""), Job("d", "", after=("b", "c"))]
    assert critical_path(jobs, {"a": 3, "b": 2, "c": 4, "d": 1}) == ["a", "b", "d"]


def test_cores_are_shared_by_jobs_and_processes(demo, tmp_path):
    sizes = all_sizes(demo, tmp_path)
    speed = stated_speed("v100", 0.4)._replace(on_gpus=False)
    plan = make_plan(demo, sizes, speed, 2)
    assert plan["unit"] == "core"
    trained = sum(
        config.training.updates * speed.update(config, sizes[config.dataset]) * config.training.processes
        for config in demo.runs.values()
    )
    assert plan["totals"]["device_hours"] * 3600 > trained
    assert plan["time"]["seconds"] >= plan["totals"]["device_hours"] * 3600 / 2


def test_disk_counts_models_and_the_checkpoints_of_running_trainings(planned):
    one, eight = planned(1)["disk"], planned(8)["disk"]
    assert one["models"] == eight["models"] > 10e9
    assert eight["checkpoints"] == pytest.approx(8 * one["checkpoints"], rel=0.01)


def test_a_plan_shows_its_runs_totals_and_assumptions(demo, tmp_path):
    plan = make_plan(demo, all_sizes(demo, tmp_path), stated_speed("a100", 0.5), 4)
    out = io.StringIO()
    show(plan, Console(file=out, width=120))
    text = out.getvalue()
    assert "demo-documents@within-128" in text and "GPU-hours on: NVIDIA A100" in text
    assert "on 4 GPUs" in text and "critical path: " in text and "Assumptions:" in text
    assert "variance_law" in text and "measure " in text
    assert "assumed" in text and "demo-sentences" in text and "diverges" in text


def test_a_plan_without_runs_has_the_measurement_alone(tmp_path):
    (tmp_path / "speed.yaml").write_text("only: [speed-by-length]\ntuning: null\n")
    experiment = Experiment.from_files(CONFIG / "config.yaml", tmp_path / "speed.yaml")
    plan = make_plan(experiment, all_sizes(experiment, tmp_path), stated_speed("a100", 0.5), 1)
    assert plan["totals"]["runs"] == plan["disk"]["models"] == plan["disk"]["checkpoints"] == 0
    assert plan["steps"]["measure"]["jobs"] == 1 and "train" not in plan["steps"]
    out = io.StringIO()
    show(plan, Console(file=out, width=120))
    assert "measure " in out.getvalue()
