import json
import shutil

import numpy as np
import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig
from reluformer.config.search import Search
from reluformer.config.settings import SettingsError
from reluformer.files import write_json
from reluformer.paper.outputs import study_inputs
from reluformer.paper.record import STEPS, Record, Recorded, differing_settings, read_recorded, take

FILES = {"config.yaml", "log.jsonl", "summary.json", "translation.json", "scores.json", "counts.npz", "analysis.json"}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_light_files_are_taken_and_nothing_else(scored, tmp_path):
    example = scored(redistribute=False)
    (example.folder(next(iter(example.experiment.runs))) / "model.safetensors").write_bytes(b"weights")
    record = tmp_path / "record"
    taken = take(example.experiment, example.results, record)
    assert len(taken.new) == 3 and taken.unchanged == taken.refused == []
    files = contents(record)
    for run in example.experiment.runs:
        assert {name.rsplit("/", 1)[1] for name in files if name.startswith(f"runs/{run.path}/")} == FILES
    assert {"corpora/some-sentences/provenance.json", "corpora/some-sentences/statistics.json"} <= files.keys()
    text = (example.results / "corpora" / "some-sentences" / "raw" / "test.en").read_text("utf-8").split("\n")[0]
    assert not any(text.encode() in content for content in files.values())


def test_a_run_that_no_study_needs_is_left_out(scored, tmp_path):
    example = scored()
    run = next(iter(example.experiment.runs))
    tried = run._replace(system=f"{run.system}+learning_rate=0.123")
    shutil.copytree(example.folder(run), example.results / "runs" / tried.path)
    example.experiment.resolve(tried).save(example.results / "runs" / tried.path / "config.yaml")
    taken = take(example.experiment, example.results, tmp_path / "record")
    assert tried.path not in (*taken.new, *taken.refused) and run.path in taken.new


def test_only_what_is_new_is_written(scored, tmp_path):
    example, record = scored(), tmp_path / "record"
    first, *rest = example.experiment.runs
    (example.folder(first) / "scores.json").rename(tmp_path / "scores.json")  # as while it is being scored
    take(example.experiment, example.results, record)
    assert not (record / "runs" / first.path / "counts.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in record.rglob("*") if path.is_file()}
    (tmp_path / "scores.json").rename(example.folder(first) / "scores.json")
    taken = take(example.experiment, example.results, record)
    assert taken.new == [first.path] and set(taken.unchanged) == {run.path for run in rest}
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert take(example.experiment, example.results, record).new == []


def test_runs_of_other_settings_or_another_training_are_one_line_errors(scored, tmp_path):
    example, record = scored(), tmp_path / "record"
    take(example.experiment, example.results, record)
    first, second, third = example.experiment.runs
    summary = json.loads((example.folder(first) / "summary.json").read_text("utf-8"))
    (example.folder(first) / "summary.json").write_text(json.dumps({**summary, "updates": 7}), "utf-8")
    config = example.experiment.resolve(second)
    changed = config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": 0.1})})
    changed.save(example.folder(second) / "config.yaml")
    elsewhere = config.model_copy(update={"training": config.training.model_copy(update={"threads": 7})})
    elsewhere.model_copy(update={"system": third.system, "model": example.experiment.resolve(third).model}).save(
        example.folder(third) / "config.yaml"
    )
    before = contents(record)
    refused = take(example.experiment, example.results, record).refused
    assert len(refused) == 2
    assert f"{first.path}: {record / 'runs' / first.path} holds another training of it" in refused[0] + refused[1]
    assert "training.learning_rate: 0.1, not 0.0005" in refused[0] + refused[1]
    changed_files = {name for name, content in contents(record).items() if before.get(name) != content}
    assert changed_files <= {f"runs/{third.path}/config.yaml"}


def test_a_record_has_one_experiment_and_one_text(scored, tmp_path):
    example, record = scored(), tmp_path / "record"
    take(example.experiment, example.results, record)
    path = example.results / "corpora" / "some-sentences" / "provenance.json"
    provenance = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**provenance, "archives": [{"name": "a", "sha256": "0" * 64}]}), "utf-8")
    refused = take(example.experiment, example.results, record).refused
    assert len(refused) == 3 and "from other archives" in refused[0]
    other = Experiment(
        {**example.experiment.config.model_dump(), "title": "Another"}, example.experiment.folder, "another.yaml"
    )
    with pytest.raises(SettingsError, match="it is the record of 'Made up', not of 'Another'"):
        take(other, example.results, record)


def test_settings_that_do_not_affect_results_are_ignored(make):
    experiment = make().experiment
    config = experiment.resolve(Run("some-sentences", "transformer", 1))
    training = {"threads": 3, "processes": 2, "compile": True, "log_every": 7}
    elsewhere = config.model_copy(
        update={
            "training": config.training.model_copy(update=training),
            "model": config.model.model_copy(update={"vocabulary": 4000}),
        }
    )
    assert differing_settings(config, elsewhere) == []
    other = experiment.resolve(Run("some-sentences", "reluformer", 1))
    assert any(line.startswith("model.encoder_attention.activation") for line in differing_settings(config, other))


def test_maps_of_figures_are_recorded_as_their_mean(make, tmp_path):
    example = make(only=["distance"], toy=False)
    dataset = example.experiment.datasets["some-documents"]
    for free in (False, True):
        example.experiment.datasets["some-documents"] = dataset.model_copy(update={"redistribute": free})
        for run in example.experiment.runs:
            example.write(run)
            example.experiment.resolve(run).save(example.folder(run) / "config.yaml")
        record = tmp_path / f"record-{free}"
        take(example.experiment, example.results, record)
        assert bool(list(record.rglob("attention.npz"))) == free
    (path, *_) = sorted(record.rglob("attention.npz"))
    with np.load(path) as small, np.load(example.results / path.relative_to(record)) as whole:
        assert small["encoder.1"].shape == (1, *whole["encoder.1"].shape[1:])
        np.testing.assert_allclose(small["encoder.1"][0], whole["encoder.1"].astype(float).mean(0), atol=1e-3)
        assert small["encoder.0"].size == small["cross.1"].size == 0
    shutil.rmtree(record)


def test_a_tuned_run_must_have_the_choice_of_the_results_or_else_of_the_record(make, tmp_path, monkeypatch):
    example, record = make(), tmp_path / "record"
    run = Run("some-sentences", "transformer", 1)
    search = Search(run=example.experiment.resolve(run._replace(seed=9)), axes=[("learning_rate", [0.0005, 0.001])])
    monkeypatch.setattr(example.experiment.tuning, "search_for", lambda run: search)
    monkeypatch.setattr(type(example.experiment.tuning), "searches", [search])
    assert Record(example.experiment, record, example.results).expected(run) is None
    content = {"grid": search.grid, "start": search.start, "seed": 9, "next": []}
    choice = {"changes": {"learning_rate": 0.001}, "validation_bleu": 20.0}
    write_json(example.results / search.path, {**content, "choice": choice})
    tuned = Record(example.experiment, record, example.results).expected(run)
    assert tuned.training.learning_rate == 0.001
    example.write(run)
    example.experiment.resolve(run).save(example.folder(run) / "config.yaml")
    refused = take(example.experiment, example.results, record).refused
    assert refused == [f"{run.path}: training.learning_rate: 0.0005, not 0.001"]
    tuned.save(example.folder(run) / "config.yaml")
    assert take(example.experiment, example.results, record).new == [run.path]
    (example.results / search.path).unlink()
    recorded = read_recorded(example.experiment, record, tmp_path / "new-results")
    assert search.path in recorded.files
    assert recorded.unusable == {run.path: "scores.json is not recorded"}, (
        "its settings are those of the recorded choice"
    )
    write_json(record / search.path, {**content, "grid": {"learning_rate": [1, 2]}, "choice": choice})
    recorded = read_recorded(example.experiment, record, tmp_path / "new-results")
    assert search.path not in recorded.files and "not tuned yet" in recorded.unusable[run.path]


@pytest.fixture
def recorded(scored, tmp_path):
    """A synthetic experiment, the record of its three runs, and an empty results folder."""
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
    nothing = Recorded(frozenset(), {}, {})
    assert read_recorded(experiment, None, results) == read_recorded(experiment, results, results) == nothing


def test_a_run_of_other_settings_does_not_count_and_the_reason_is_given(recorded):
    experiment, record, results = recorded
    override = {"system": "ffn-softmax", "training": {"learning_rate": 0.1, "threads": 2}}
    replaced = read_recorded(changed(experiment, overrides=[override]), record, results)
    path = "some-sentences/ffn-softmax/seed1"
    assert replaced.unusable == {path: "training.learning_rate: 0.0005, not 0.1"} and path not in replaced.runs
    assert f"{path}: recorded, but repeated: training.learning_rate" in replaced.summary()
    assert "corpora/some-sentences/statistics.json" not in replaced.files  # a run needs the text
    elsewhere = changed(experiment, training={"threads": 2}, translation={"batch_tokens": 99})
    assert read_recorded(elsewhere, record, results).unusable == {}


def test_a_run_counts_only_with_its_own_text(recorded):
    experiment, record, results = recorded
    path = experiment.folder / "datasets" / "some-sentences.yaml"
    path.write_text(path.read_text("utf-8").replace("lowercase: true", "lowercase: true\n  min_words: 4"), "utf-8")
    replaced = read_recorded(changed(experiment), record, results)
    assert replaced.runs == {} and all("corpus.min_words: 0, not 4" in reason for reason in replaced.unusable.values())


def test_runs_that_have_or_need_weights_are_not_restored(recorded, monkeypatch):
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


def test_measurements_count_for_the_same_systems_and_lengths(make, tmp_path):
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
