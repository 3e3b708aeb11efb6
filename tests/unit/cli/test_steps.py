"""Every step of the DAG has a command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from reluformer.analysis import variance
from reluformer.benchmark import study

ROOT = Path(__file__).parents[3]


def test_help_lists_every_step_of_the_dag(run):
    result = run("--help")
    assert result.returncode == 0
    steps = "fetch prepare pack corpus-page train tune translate-run score analyse measure "
    steps += "variance-law study significance claims overview schemas"
    assert all(f" {step} " in result.stdout for step in steps.split())


def test_a_tuned_run_needs_the_choice_of_its_system(command, monkeypatch, tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    result = command("train", "iwslt14/reluformer/seed1")
    assert result.code == 2 and result.err.splitlines() == [
        "reluformer: results/tuning/iwslt14/reluformer.json: there is no such file; "
        "`snakemake --cores all results/tuning/iwslt14/reluformer.json` makes it"
    ]


def test_tune_says_what_to_train_next_and_which_run_is_missing(command, monkeypatch, tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    assert command("tune", "iwslt14/reluformer", "--rounds", "0", "--output", "round.json").code == 0
    tuning_round = json.loads((tmp_path / "round.json").read_text(encoding="utf-8"))
    assert [run.split("/")[1] for run in tuning_round["next"]] == [
        f"reluformer+gamma=2+learning_rate={rate}+penalty.weight=0.1+recipe=tuning" for rate in ("0.0005", "0.001")
    ]
    missing = command("tune", "iwslt14/reluformer")
    assert missing.code == 2 and missing.err.endswith("seed1000 has not been trained\n")
    assert command("tune", "iwslt14").err.startswith("reluformer: 'iwslt14': a tuned system is named DATASET/SYSTEM")
    untuned = command("tune", "iwslt14/reluformer", "--config", "config/demo.yaml")
    assert untuned.code == 2


def test_measure_writes_what_was_measured(tmp_path, monkeypatch, command):
    monkeypatch.setattr(study, "measure_study", lambda plan, threads, tell: {"study": plan.study, "threads": threads})
    output = tmp_path / "measured.json"
    assert command("measure", "--output", output, "--threads", 3).code == 0
    assert json.loads(output.read_text(encoding="utf-8")) == {"study": "speed-by-length", "threads": 3}


def test_measure_without_a_measured_study_is_one_line(tmp_path, command):
    only = tmp_path / "only.yaml"
    only.write_text("only: [ablation]", encoding="utf-8")
    result = command("measure", "--config", only, "--output", tmp_path / "measured.json")
    assert result.code == 2 and "no study of this configuration is measured" in result.err


def test_an_output_is_checked_before_hours_of_work(command, monkeypatch, tmp_path):
    work = []
    monkeypatch.setattr(study, "measure_study", lambda *_: work.append("measure"))
    monkeypatch.setattr(variance, "write_variance_law", lambda *_: work.append("variance-law"))
    monkeypatch.chdir(ROOT)
    (tmp_path / "file").write_text("in the way")
    for step in (("measure", "--config", "config/demo.yaml"), ("variance-law",)):
        for output in (tmp_path / "file" / "out.json", tmp_path):
            result = command(*step, "--output", str(output))
            assert result.code == 2 and str(output) in result.err and result.err.count("\n") == 1
    assert work == []
    assert command("variance-law", "--output", str(tmp_path / "new" / "law.json")).code == 0
    assert work == ["variance-law"] and list((tmp_path / "new").iterdir()) == []
