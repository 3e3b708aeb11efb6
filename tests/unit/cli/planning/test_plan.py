import json
from collections import Counter

import pytest

from reluformer.cli.planning.gpus import CARDS, START, Rates
from reluformer.cli.planning.kinds import all_runs
from reluformer.cli.planning.plan import Basis, collect, make_plan, stated
from reluformer.cli.planning.scoring import STATED
from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.experiment import Experiment
from reluformer.paper.comparisons import compared_runs
from reluformer.paper.outputs import paired_kinds


@pytest.fixture(scope="module")
def planned(paper, tmp_path_factory):
    sizes, kinds = collect(paper, tmp_path_factory.mktemp("corpora"))
    return lambda devices: make_plan(paper, sizes, kinds, stated(kinds, sizes, CARDS["h100"], 0.4), devices)


def test_the_papers_configuration_is_complete(paper):
    """Every system on the sentences, every attention at every L and packing from either start, three seeds of each."""
    runs = Counter((run.dataset, run.system.split("+")[0]) for run in paper.runs)
    assert {system for dataset, system in runs if dataset == "iwslt14"} == set(paper.systems)
    partly = {system for system in paper.systems if system.startswith("reluformer-")}  # in some attentions alone
    attentions = set(paper.systems) - {"ffn-softmax", "ffn-softmax-layernorm", "attention-relu"} - partly
    for packing in ("within", "across"):
        for length in (128, 256, 512, 1024, 2048):
            found = {system for dataset, system in runs if dataset == f"europarl7@{packing}-{length}"}
            assert found == attentions, (packing, length)
    assert len({run.system for run in paper.study_runs("memory-size")}) == 3 * 9
    assert len({run.system for run in paper.study_runs("gamma")}) == 6
    # Of the 27 sizes three are what the systems have anyway: those runs are shared. γ and λ are tuned: theirs are not.
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


def test_more_devices_take_less_but_never_less_than_the_critical_path(planned):
    one, eight, many = (planned(devices)["time"] for devices in (1, 8, 10_000))
    assert one["seconds"] > eight["seconds"] > many["seconds"] == pytest.approx(many["critical_path_seconds"])
    assert one["seconds"] == pytest.approx(3600 * planned(1)["totals"]["device_hours"], rel=0.01)
    assert [part["job"].split(" ")[0] for part in one["critical_path"]][:7] == [
        *("prepare", *3 * ("train", "tuning_round"))
    ]


def test_the_basis_is_said(planned):
    text = " ".join(planned(1)["basis"])
    assert "assumed" in text and "iwslt14" in text and "diverges" in text and "`patience`" in text


def test_cores_are_shared_by_jobs_and_processes(demo, tmp_path):
    sizes, kinds = collect(demo, tmp_path)
    basis = Basis(dict.fromkeys(kinds, Rates(0.03, 1e-4)), START, STATED, [], "a core", False)
    plan = make_plan(demo, sizes, kinds, basis, 2)
    assert plan["unit"] == "core"
    trained = sum(config.training.updates * 0.03 * config.training.processes for config in demo.runs.values())
    assert plan["totals"]["device_hours"] * 3600 > trained
    assert plan["time"]["seconds"] >= plan["totals"]["device_hours"] * 3600 / 2


def test_every_job_that_takes_a_while_is_counted(demo, tmp_path):
    """The measured study, the scores and the paired tests: each grows with its own configuration."""
    sizes, kinds = collect(demo, tmp_path)

    def steps(experiment, scoring=STATED):
        basis = Basis(dict.fromkeys(kinds, Rates(0.03, 1e-4)), START, scoring, [], "a core", False)
        return make_plan(experiment, sizes, kinds, basis, 2)["steps"]

    def changed(**changes):
        return Experiment(demo.config.model_copy(update=changes).model_dump(), folder=demo.folder)

    before = steps(demo)
    assert {"measure", "variance_law", "score", "significance"} <= before.keys() and "other" not in before
    more = changed(significance=SignificanceConfig(bootstrap=1000, randomisation=101_000))
    pairs = [
        len(paired_kinds(demo, study)) * sizes[ours.dataset].test.pairs
        for study in demo.studies
        for ours, _ in compared_runs(demo, study)
    ]
    grown = steps(more)["significance"]["seconds"] - before["significance"]["seconds"]
    assert sum(pairs) > 10_000 and grown == pytest.approx(100_000 * STATED.sample * sum(pairs))
    slower = steps(demo, STATED._replace(line=1.0))["score"]["seconds"] - before["score"]["seconds"]
    lines = {name: found.test.pairs for name, found in sizes.items()}
    assert slower == pytest.approx(0.999 * sum(lines[run.dataset.partition("@")[0]] for run in demo.runs))


def test_disk_counts_models_and_the_checkpoints_of_running_trainings(planned):
    one, eight = planned(1)["disk"], planned(8)["disk"]
    assert one["models"] == eight["models"] > 10e9 and eight["checkpoints"] == pytest.approx(
        8 * one["checkpoints"], rel=0.01
    )
