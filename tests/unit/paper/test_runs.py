import math

import pytest

from reluformer.config.metrics import metric
from reluformer.config.settings import SettingsError, read_json
from reluformer.paper.runs import read_lines, read_runs, system_title

METRICS = [metric("tokenized_bleu"), metric("updates"), metric("ffn.entropy")]


def test_each_run_is_a_row_with_its_keys_and_metrics(make):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("memory-size"):
        example.write(run, score=float(run.system.split("=")[1].split("+")[0]))
    frame = read_runs(example.experiment, "memory-size", METRICS, example.results)
    assert len(frame) == 3 * 3 * 2
    assert list(frame["slots"].unique()) == [32, 128, 512]
    assert (frame["tokenized_bleu"] == frame["slots"]).all()
    assert set(frame["system"]) == {"transformer", "ffn-softmax", "ffn-softmax-layernorm"}
    assert set(frame["status"]) == {"finished"} and set(frame["dataset"]) == {"some-sentences"}


def test_views_carry_packing_and_length(make):
    example = make()
    frame = read_runs(example.experiment, "document-length", [], example.results)
    assert set(zip(frame["packing"], frame["length"], strict=True)) == {("within", 64), ("within", 128)}


def test_missing_files_are_distinguished(make):
    example = make()
    runs = example.experiment.study_runs("ffn-activation")
    for run in runs[:2]:
        example.write(run)
    (example.folder(runs[0]) / "scores.json").unlink()
    (example.folder(runs[1]) / "analysis.json").unlink()
    frame = read_runs(example.experiment, "ffn-activation", METRICS, example.results)
    assert list(frame["missing:tokenized_bleu"]) == ["not scored", "", "not run"]
    assert list(frame["missing:ffn.entropy"]) == ["", "not analysed", "not run"]
    assert list(frame["status"]) == ["finished", "finished", "not run"]


def test_a_diverged_run_keeps_what_it_has(make):
    example = make()
    run = example.experiment.study_runs("ffn-activation")[0]
    example.write(run, diverged=True)
    row = read_runs(example.experiment, "ffn-activation", METRICS, example.results).iloc[0]
    assert row["status"] == "diverged" and row["diverged_at"] == 312 and row["updates"] == 312
    assert math.isnan(row["tokenized_bleu"]) and row["missing:tokenized_bleu"] == "diverged"


def test_titles_name_changes(make):
    experiment = make().experiment
    assert system_title(experiment, "reluformer") == "ReLUFormer"
    assert system_title(experiment, "reluformer+gamma=2+recipe=sweep") == "ReLUFormer (gamma 2)"


def test_a_study_may_title_its_rows(make):
    example = make()
    rows = read_runs(example.experiment, "penalty-parts", METRICS, example.results)
    titles = dict(zip(rows["system"], rows["title"], strict=True))
    assert titles["reluformer+penalty.entropy=false"] == "the normalisation term alone"
    assert titles["attention-relu-scaled"] == "no penalty"
    untitled = make(studies={"penalty-parts": {"titles": {}}}).experiment
    assert system_title(untitled, "attention-relu-scaled", untitled.studies["penalty-parts"]).startswith("Scaled ReLU")


def test_incomplete_files(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"a": 2', encoding="utf-8")
    assert read_lines(tmp_path / "log.jsonl") == [{"a": 1}]
    assert read_lines(tmp_path / "none.jsonl") == []
    (tmp_path / "summary.json").write_text('{"status": "fin', encoding="utf-8")
    with pytest.raises(SettingsError, match="not valid JSON"):
        read_json(tmp_path / "summary.json")
    assert read_json(tmp_path / "none.json") is None
