import json
import shutil

import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig
from reluformer.paper.outputs import study_inputs
from reluformer.paper.record import STEPS, take
from reluformer.paper.recorded import NOTHING, read_recorded


@pytest.fixture
def recorded(scored, tmp_path):
    """A made-up experiment, the record of its three runs, and an empty folder of results."""
    example, record = scored(), tmp_path / "record"
    take(example.experiment, example.results, record)
    return example.experiment, record, tmp_path / "new-results"


def changed(experiment, **config):
    return Experiment({**experiment.config.model_dump(), **config}, experiment.folder, experiment.name)


def test_recorded_runs_count_as_done(recorded):
    experiment, record, results = recorded
    replaced = read_recorded(experiment, record, results)
    assert replaced.runs == {run.path: list(STEPS) for run in experiment.runs} and replaced.unusable == {}
    for file in study_inputs(experiment, "ffn-activation"):
        assert file.removeprefix("results/") in replaced.files or file.startswith("results/paper/")
    assert "corpora/some-sentences/statistics.json" in replaced.files
    assert replaced.summary() == "3 runs are recorded and not repeated\n"
    assert read_recorded(experiment, None, results) == read_recorded(experiment, results, results) == NOTHING


def test_a_run_of_other_settings_does_not_count_and_says_why(recorded):
    experiment, record, results = recorded
    override = {"system": "ffn-softmax", "training": {"learning_rate": 0.1, "threads": 2}}
    replaced = read_recorded(changed(experiment, overrides=[override]), record, results)
    path = "some-sentences/ffn-softmax/seed1"
    assert replaced.unusable == {path: "training.learning_rate: 0.0005, not 0.1"} and path not in replaced.runs
    assert f"{path}: recorded, but repeated: training.learning_rate" in replaced.summary()
    assert "corpora/some-sentences/statistics.json" not in replaced.files  # a run needs the text
    elsewhere = changed(experiment, training={"threads": 2}, translation={"batch_tokens": 99})
    assert read_recorded(elsewhere, record, results).unusable == {}


def test_a_run_counts_on_its_own_text_alone(recorded):
    experiment, record, results = recorded
    path = experiment.folder / "datasets" / "some-sentences.yaml"
    path.write_text(path.read_text("utf-8").replace("lowercase: true", "lowercase: true\n  min_words: 4"), "utf-8")
    replaced = read_recorded(changed(experiment), record, results)
    assert replaced.runs == {} and all("corpus.min_words: 0, not 4" in reason for reason in replaced.unusable.values())


def test_what_has_its_weights_here_or_must_have_them_is_not_restored(recorded, monkeypatch):
    experiment, record, results = recorded
    first, second, third = (run.path for run in experiment.runs)
    model = results / "runs" / first / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    assert set(read_recorded(experiment, record, results).runs) == {second, third}
    shutil.rmtree(results)
    override = {"system": "transformer", "training": {"start_from": second}}
    monkeypatch.setattr(Experiment, "_start_of", lambda self, *_: Run.parse(second))
    replaced = read_recorded(changed(experiment, overrides=[override]), record, results)
    assert set(replaced.unusable) == {first} and set(replaced.runs) == {third}


def test_a_run_without_a_file_that_a_study_needs_is_trained_again(recorded):
    experiment, record, results = recorded
    path = next(iter(experiment.runs)).path
    (record / "runs" / path / "scores.json").unlink()
    replaced = read_recorded(experiment, record, results)
    assert replaced.unusable == {path: "scores.json is not recorded"}
    assert path not in replaced.runs and "corpora/some-sentences/statistics.json" not in replaced.files


def test_maps_that_a_record_may_not_hold_are_no_inputs(recorded):
    experiment, record, results = recorded
    replaced = read_recorded(experiment, record, results)
    path = next(iter(experiment.runs)).path
    paths = [f"results/runs/{path}/attention.npz", "results/runs/other/attention.npz"]
    assert replaced.without_maps(paths) == paths[1:]
    (record / "runs" / path / "attention.npz").touch()
    assert read_recorded(experiment, record, results).without_maps(paths) == paths


def test_what_is_measured_counts_for_the_same_systems_and_lengths(make, tmp_path):
    experiment = make(only=["speed-by-length"]).experiment
    config = experiment.studies["speed-by-length"]
    record = tmp_path / "record"
    (record / "paper").mkdir(parents=True)
    points = [{"system": system} for system in config.systems]
    content = {"settings": config.measured.model_dump(mode="json"), "points": points}
    for change, counts in (({}, True), ({"settings": {"rounds": 9}}, False), ({"points": points[1:]}, False)):
        (record / "paper" / "measured.json").write_text(json.dumps({**content, **change}), "utf-8")
        assert ("paper/measured.json" in read_recorded(experiment, record, tmp_path / "results").files) == counts


def test_a_broken_configuration_does_not_count(recorded):
    experiment, record, results = recorded
    path = next(iter(experiment.runs)).path
    config = record / "runs" / path / "config.yaml"
    assert RunConfig.load(config.parent)
    config.write_text("seed: one\n", "utf-8")
    assert "this key is required" in read_recorded(experiment, record, results).unusable[path]
