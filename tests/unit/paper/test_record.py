import json
import shutil

import numpy as np
import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.search import Search
from reluformer.config.settings import SettingsError
from reluformer.files import write_json
from reluformer.paper.record import Record, differing_settings, take
from reluformer.paper.recorded import read_recorded

FILES = {"config.yaml", "log.jsonl", "summary.json", "translation.json", "scores.json", "counts.npz", "analysis.json"}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_light_files_are_taken_and_nothing_else(scored, tmp_path):
    made = scored(redistribute=False)
    (made.folder(next(iter(made.experiment.runs))) / "model.safetensors").write_bytes(b"weights")
    record = tmp_path / "record"
    taken = take(made.experiment, made.results, record)
    assert len(taken.new) == 3 and taken.unchanged == taken.refused == []
    files = contents(record)
    for run in made.experiment.runs:
        assert {name.rsplit("/", 1)[1] for name in files if name.startswith(f"runs/{run.path}/")} == FILES
    assert {"corpora/some-sentences/provenance.json", "corpora/some-sentences/statistics.json"} <= files.keys()
    text = (made.results / "corpora" / "some-sentences" / "raw" / "test.en").read_text("utf-8").split("\n")[0]
    assert not any(text.encode() in content for content in files.values())


def test_only_what_is_new_is_written(scored, tmp_path):
    made, record = scored(), tmp_path / "record"
    first, *rest = made.experiment.runs
    (made.folder(first) / "scores.json").rename(tmp_path / "scores.json")  # it is being scored
    take(made.experiment, made.results, record)
    assert not (record / "runs" / first.path / "counts.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in record.rglob("*") if path.is_file()}
    (tmp_path / "scores.json").rename(made.folder(first) / "scores.json")
    taken = take(made.experiment, made.results, record)
    assert taken.new == [first.path] and set(taken.unchanged) == {run.path for run in rest}
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert take(made.experiment, made.results, record).new == []


def test_runs_of_other_settings_or_another_training_are_refused_in_a_line(scored, tmp_path):
    made, record = scored(), tmp_path / "record"
    take(made.experiment, made.results, record)
    first, second, third = made.experiment.runs
    summary = json.loads((made.folder(first) / "summary.json").read_text("utf-8"))
    (made.folder(first) / "summary.json").write_text(json.dumps({**summary, "updates": 7}), "utf-8")
    config = made.experiment.resolve(second)
    changed = config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": 0.1})})
    changed.save(made.folder(second) / "config.yaml")
    elsewhere = config.model_copy(update={"training": config.training.model_copy(update={"threads": 7})})
    elsewhere.model_copy(update={"system": third.system, "model": made.experiment.resolve(third).model}).save(
        made.folder(third) / "config.yaml"
    )
    before = contents(record)
    refused = take(made.experiment, made.results, record).refused
    assert len(refused) == 2
    assert f"{first.path}: {record / 'runs' / first.path} holds another training of it" in refused[0] + refused[1]
    assert "training.learning_rate: 0.1, not 0.0005" in refused[0] + refused[1]
    changed_files = {name for name, content in contents(record).items() if before.get(name) != content}
    assert changed_files <= {f"runs/{third.path}/config.yaml"}


def test_a_record_is_of_one_experiment_and_one_text(scored, tmp_path):
    made, record = scored(), tmp_path / "record"
    take(made.experiment, made.results, record)
    path = made.results / "corpora" / "some-sentences" / "provenance.json"
    provenance = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**provenance, "archives": [{"name": "a", "sha256": "0" * 64}]}), "utf-8")
    refused = take(made.experiment, made.results, record).refused
    assert len(refused) == 3 and "from other archives" in refused[0]
    other = Experiment(
        {**made.experiment.config.model_dump(), "title": "Another"}, made.experiment.folder, "another.yaml"
    )
    with pytest.raises(SettingsError, match="it is the record of 'Made up', not of 'Another'"):
        take(other, made.results, record)


def test_how_a_run_is_computed_does_not_decide_it(make):
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
    made = make(only=["distance"], toy=False)
    dataset = made.experiment.datasets["some-documents"]
    for free in (False, True):
        made.experiment.datasets["some-documents"] = dataset.model_copy(update={"redistribute": free})
        for run in made.experiment.runs:
            made.write(run)
            made.experiment.resolve(run).save(made.folder(run) / "config.yaml")
        record = tmp_path / f"record-{free}"
        take(made.experiment, made.results, record)
        assert bool(list(record.rglob("attention.npz"))) == free
    (path, *_) = sorted(record.rglob("attention.npz"))
    with np.load(path) as small, np.load(made.results / path.relative_to(record)) as whole:
        assert small["encoder.1"].shape == (1, *whole["encoder.1"].shape[1:])
        np.testing.assert_allclose(small["encoder.1"][0], whole["encoder.1"].astype(float).mean(0), atol=1e-3)
        assert small["encoder.0"].size == small["cross.1"].size == 0
    shutil.rmtree(record)


def test_a_tuned_run_is_to_have_the_choice_of_the_results_or_else_of_the_record(make, tmp_path, monkeypatch):
    made, record = make(), tmp_path / "record"
    run = Run("some-sentences", "transformer", 1)
    search = Search(run=made.experiment.resolve(run._replace(seed=9)), axes=[("learning_rate", [0.0005, 0.001])])
    monkeypatch.setattr(made.experiment.tuning, "search_for", lambda run: search)
    monkeypatch.setattr(type(made.experiment.tuning), "searches", [search])
    assert Record(made.experiment, record, made.results).expected(run) is None
    content = {"grid": search.grid, "start": search.start, "seed": 9, "next": []}
    choice = {"changes": {"learning_rate": 0.001}, "validation_bleu": 20.0}
    write_json(made.results / search.path, {**content, "choice": choice})
    tuned = Record(made.experiment, record, made.results).expected(run)
    assert tuned.training.learning_rate == 0.001
    made.write(run)
    made.experiment.resolve(run).save(made.folder(run) / "config.yaml")
    refused = take(made.experiment, made.results, record).refused
    assert refused == [f"{run.path}: training.learning_rate: 0.0005, not 0.001"]
    tuned.save(made.folder(run) / "config.yaml")
    assert take(made.experiment, made.results, record).new == [run.path]
    (made.results / search.path).unlink()
    recorded = read_recorded(made.experiment, record, tmp_path / "new-results")
    assert search.path in recorded.files
    assert recorded.unusable == {run.path: "scores.json is not recorded"}, (
        "its settings are those of the recorded choice"
    )
    write_json(record / search.path, {**content, "grid": {"learning_rate": [1, 2]}, "choice": choice})
    recorded = read_recorded(made.experiment, record, tmp_path / "new-results")
    assert search.path not in recorded.files and "not tuned yet" in recorded.unusable[run.path]
