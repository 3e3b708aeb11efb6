"""config/rectified.yaml and alignment.yaml on top of the others: studies, claims, and added systems."""

import shutil
from pathlib import Path

import pytest

from reluformer.benchmark.study import measuring_plan
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError
from reluformer.paper.outputs import read_claims

CONFIG = Path(__file__).parents[3] / "config"
STUDIES = ("rectified-accuracy", "rectified-length", "rectified-speed", "rectified-learning")
SYSTEM = "\nmy-system:\n  title: My system\n  attention: {activation: relu-squared, options: {alpha: 2.0}}\n"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def overlaid(folder, base="small.yaml"):
    return Experiment.from_files(folder / "config.yaml", folder / base, folder / "rectified.yaml")


@pytest.mark.parametrize("base", ["config.yaml", "small.yaml", "demo.yaml"])
def test_the_studies_can_be_added_to_every_configuration(folder, base):
    experiment = overlaid(folder, base)
    assert tuple(experiment.studies) == STUDIES and experiment.measured_study == "rectified-speed"
    assert experiment.study_runs("rectified-learning") == experiment.study_runs("rectified-accuracy")


def test_every_system_after_the_paper_has_a_claim_of_this_configuration(folder):
    paper, ours = (
        read_claims(experiment)
        for experiment in (Experiment.from_files(folder / "config.yaml", folder / "small.yaml"), overlaid(folder))
    )
    assert not paper.keys() & ours.keys() and all(claim.study in STUDIES for claim in ours.values())
    judged = {rule.system for claim in ours.values() for rule in claim.rule}
    judged |= {rule.than for claim in ours.values() for rule in claim.rule}
    compared = set(overlaid(folder).studies["rectified-accuracy"].systems)
    assert compared - judged == {"rela"}  # judged by the paper's claim about attention-activation


def test_a_configuration_with_fewer_systems_keeps_the_claims_of_the_others(folder):
    (folder / "fewer.yaml").write_text("studies: {rectified-accuracy: {systems: [transformer, sigmoid]}}\n")
    few = Experiment.from_files(*(folder / name for name in ("config.yaml", "rectified.yaml", "fewer.yaml")))
    assert set(read_claims(overlaid(folder))) == set(read_claims(few))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("system: sigmoid,", "system: sigmiod,", "claims.sigmoid: rule: 'sigmiod': unknown system; did you mean 'sigm"),
        ("study: rectified-speed", "study: rectified-sped", "claims.rela-speed: study: 'rectified-sped': unknown"),
    ],
)
def test_a_mistake_in_a_claim_of_the_configuration_is_named(folder, old, new, message):
    path = folder / "rectified.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        read_claims(overlaid(folder))


@pytest.mark.parametrize("name", ["my-system", "transformer+activation=relu-squared"])
def test_an_added_system_appears_in_every_study_that_lists_it(folder, name):
    with (folder / "systems.yaml").open("a", encoding="utf-8") as file:
        file.write(SYSTEM)
    path = folder / "rectified.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("      - entmax\n", f"      - entmax\n      - {name}\n"), encoding="utf-8")
    experiment = overlaid(folder)
    for study in STUDIES:
        assert name in experiment.studies[study].systems
        points = experiment.study_points(study).values()
        assert name in {point.system for point in points} or study == experiment.measured_study
    assert Run("iwslt14-small", name, 1) in experiment.runs
    assert any(search.system == name.partition("+")[0] for search in experiment.tuning.searches)
    plan = measuring_plan(experiment)
    assert plan is not None and name in {run.system for run in plan.runs}


def test_an_added_system_can_join_every_study_of_the_paper(folder):
    with (folder / "systems.yaml").open("a", encoding="utf-8") as file:
        file.write(SYSTEM)
    plain = Experiment.from_files(folder / "config.yaml")
    changes = {
        name: {"systems": [*study.systems, "my-system"]}
        for name, study in plain.studies.items()
        if not {"gamma", "penalty.weight"} & study.vary.keys()  # keys that the new system lacks
    }
    grown = Experiment({**plain.config.model_dump(), "studies": changes}, folder)
    for name in changes.keys() - {"speed-by-length"}:
        systems = {point.system for point in grown.study_points(name).values()}
        assert systems == {*plain.studies[name].systems, "my-system"}


@pytest.mark.parametrize("base", ["config.yaml", "small.yaml"])
def test_the_study_of_alignment_can_be_added_to_every_configuration(folder, base):
    experiment = Experiment.from_files(folder / "config.yaml", folder / base, folder / "alignment.yaml")
    assert list(experiment.studies) == ["alignment", "alignment-heads", "alignment-rela", "alignment-full"]
    annealed = [run for run in experiment.runs if "anneal_from_softmax" in run.system]
    memories = experiment.resolve(annealed[0]).model
    assert memories.cross_attention.anneal_from_softmax == 0.1
    assert len(annealed) == (2 if base == "small.yaml" else 1)  # only small.yaml has a shorter recipe
    own = list(read_claims(experiment).values())
    assert {claim.study for claim in own} == {"alignment", "alignment-rela"}
    systems = {run.system.removesuffix("+recipe=alignment") for run in experiment.runs}
    assert len(own) == 8
    assert systems >= {rule.system for claim in own if claim.study == "alignment" for rule in claim.rule}
    for claim in own:
        rows = set(experiment.studies[claim.study].systems)
        assert rows >= {rule.system for rule in claim.rule} | {rule.than for rule in claim.rule}
    shorter = {experiment.resolve(run).training.updates for run in experiment.runs if "+recipe=alignment" in run.system}
    assert shorter == ({2000} if base == "small.yaml" else set())
