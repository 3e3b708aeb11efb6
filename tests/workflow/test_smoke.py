"""One run of the whole DAG, with few updates on synthetic text, and what reruns after which change."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from reluformer.cli.watching import progress
from reluformer.config.experiment import Experiment
from reluformer.paper.outputs import study_outputs
from reluformer.paper.study import KINDS

pytestmark = pytest.mark.slow


def test_every_study_ends_in_tables_figures_and_one_report(smoke, monkeypatch):
    assert smoke.returncode == 0, smoke.output[-4000:]
    monkeypatch.chdir(smoke.folder)
    experiment = Experiment.from_files("config/config.yaml", "smoke/smoke.yaml")
    paper = smoke.folder / "results" / "paper"
    wanted = {smoke.folder / path for study in experiment.studies for path in study_outputs(experiment, study)}
    assert {path for folder in ("tables", "figures") for path in (paper / folder).iterdir()} == wanted
    assert all(path.stat().st_size > 0 for path in wanted)
    kinds = {figure.kind for study in experiment.studies.values() for figure in study.figures.values()}
    assert kinds == KINDS.keys(), "the smoke configuration has a figure of each kind"
    assert (paper / "index.html").stat().st_size > 100_000
    assert "toy" in (paper / "report.html").read_text(encoding="utf-8").lower()
    assert json.loads((paper / "claims.json").read_text(encoding="utf-8"))["claims"]


def test_a_runs_folder_documents_the_run(smoke):
    run = smoke.folder / "results" / "runs" / "numbers" / "reluformer" / "seed1"
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert config["model"]["decoder_attention"]["activation"] == "relu-scaled"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "finished" and summary["updates"] == config["training"]["updates"]
    assert summary["versions"]["torch"] and summary["data"]
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert "version:" in scores["metrics"]["bleu"]["signature"]


def test_a_run_of_segments_starts_from_that_of_the_sentences(smoke):
    runs = smoke.folder / "results" / "runs"
    segments = runs / "letters@within-32" / "reluformer+recipe=from-sentences" / "seed1"
    summary = json.loads((segments / "summary.json").read_text(encoding="utf-8"))
    assert summary["processes"] == 2
    weights = (runs / "letters" / "reluformer" / "seed1" / "model.safetensors").read_bytes()
    assert summary["data"]["runs/letters/reluformer/seed1/model.safetensors"] == hashlib.sha256(weights).hexdigest()
    table = (smoke.folder / "results" / "paper" / "tables" / "document-length.csv").read_text(encoding="utf-8")
    assert "sentence,transformer" in table and "within,32,transformer" in table


def test_watching_a_done_workflow_sees_all_of_it_done(smoke, monkeypatch):
    monkeypatch.chdir(smoke.folder)
    experiment = Experiment.from_files("config/config.yaml", "smoke/smoke.yaml")
    steps = {step.name: step for step in progress(experiment, Path("results"))}
    assert steps["train"].all == len(experiment.runs) and "report" in steps
    assert [step for step in steps.values() if step.done != step.all] == []


def test_the_results_archive_passes_verification(smoke):
    archive = smoke.folder / "results" / "paper" / "archive.zip"
    command = [sys.executable, "-m", "reluformer.cli", "verify", str(archive)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    numbers = len(list((smoke.folder / "results" / "runs" / "numbers").iterdir()))
    assert f"scores of {numbers} runs recomputed" in result.stdout  # the text of the other corpus is not archived


def test_there_is_nothing_to_do_a_second_time(smoke):
    assert "Nothing to be done" in smoke.again().stdout


def test_one_more_seed_trains_only_that_seed(smoke, edit, jobs):
    path = smoke.folder / "smoke" / "smoke.yaml"
    edit(path, "seeds", value=[1, 2])
    try:
        result = smoke.again("-n")
    finally:
        edit(path, "seeds", value=[1])
    before = smoke.again("-n", "--forceall")
    trainings = jobs(before.stdout)["train"]
    assert jobs(result.stdout)["train"] == trainings
    planned = [line for line in result.stdout.splitlines() if line.strip().startswith("wildcards: dataset=")]
    assert planned and all("seed=2" in line for line in planned)
    assert not {"prepare", "pack", "fetch"} & jobs(result.stdout).keys()


def test_another_learning_rate_trains_everything_of_that_dataset_and_prepares_nothing(smoke, edit, jobs):
    path = smoke.folder / "smoke" / "numbers.yaml"
    rate = yaml.safe_load(path.read_text(encoding="utf-8"))["training"].get("learning_rate", 5e-4)
    edit(path, "training", "learning_rate", value=0.01)
    try:
        result = smoke.again("-n")
    finally:
        edit(path, "training", "learning_rate", value=rate)
    assert jobs(result.stdout)["train"] == len(list((smoke.folder / "results" / "runs" / "numbers").iterdir()))
    assert not {"prepare", "pack", "fetch"} & jobs(result.stdout).keys()


def test_one_study_needs_only_its_own_runs(project, smoke, jobs):
    copytree(smoke.folder / "smoke", project.folder / "smoke")
    arguments = ("--configfile", "smoke/smoke.yaml", "--", "results/paper/tables/ffn-activation.csv")
    result = project.snakemake("-n", *arguments)
    assert jobs(result.stdout)["train"] == 3
    assert "report" not in jobs(result.stdout)


def test_missing_scores_leave_a_gap_and_rerun_only_the_studies_of_that_run(smoke, jobs, edit, tmp_path):
    copy = replace(smoke, folder=tmp_path / "copy", config=tmp_path / "copy" / "smoke" / "smoke.yaml")
    copytree(smoke.folder, copy.folder, symlinks=True)
    edit(copy.config, "partial", value=True)
    assert "Nothing to be done" in copy.again().stdout
    run = copy.folder / "results" / "runs" / "numbers" / "ffn-softmax" / "seed1"
    for name in ("scores.json", "counts.npz"):
        (run / name).unlink()
    done = copy.again()
    assert done.returncode == 0, done.stdout[-4000:]
    touched = {"significance", "study_ffn_activation", "study_ffn_temperature", "claims"}  # the studies of this run
    assert set(jobs(done.stdout)) - {"default", "all", "total", "index", "archive", "report"} == touched
    assert all(jobs(done.stdout)[rule] == 1 for rule in touched - {"significance"})
    tables = copy.folder / "results" / "paper" / "tables"
    row = next(
        line for line in (tables / "ffn-activation.md").read_text("utf-8").splitlines() if "| Softmax in" in line
    )
    assert row.count("not scored") == 3
    claims = json.loads((copy.folder / "results" / "paper" / "claims.json").read_text("utf-8"))["claims"]
    assert next(claim["verdict"] for claim in claims if claim["id"] == "ffn-activation") == "not run"
    assert not (run / "scores.json").exists()


def test_a_partial_report_without_results_trains_nothing(project, smoke, jobs):
    copytree(smoke.folder / "smoke", project.folder / "smoke")
    arguments = ("--configfile", "smoke/smoke.yaml", "--config", "partial=true")
    planned = jobs(project.snakemake("-n", *arguments).stdout)
    assert not {"fetch", "prepare", "train", "translate", "score", "analyse"} & planned.keys()
    assert planned["claims"] == 1 and planned["study_ffn_activation"] == 1
