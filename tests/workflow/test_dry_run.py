"""`snakemake -n` plans the whole paper offline and prints the number of runs."""

from __future__ import annotations

import json
import shlex
from collections import Counter

import pytest
import yaml

from reluformer.config.experiment import Experiment
from reluformer.config.settings import read_yaml

pytestmark = pytest.mark.slow


def test_the_papers_own_configuration_is_planned_and_counted(project, jobs):
    result = project.snakemake("-n")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    paper = Experiment.from_files(project.folder / "config" / "config.yaml")
    assert f"{len(paper.runs)} runs (seeds 1, 2, 3)" in result.stdout
    row = next(line.split() for line in lines if line.startswith("reluformer "))
    counts = Counter(run.dataset.split("@")[0] for run in paper.runs if run.system.split("+")[0] == "reluformer")
    assert row == ["reluformer", str(counts["iwslt14"]), str(counts["europarl7"])]
    assert "54 tuning runs (seed 1000)" in result.stdout
    planned = jobs(result.stdout)
    assert planned["tune"] == planned["tuning_round"] == 9, "rounds after the first hang on its scores"
    assert planned["train"] == len(paper.runs) + 7 * 6 + 4 + 2
    assert not (project.folder / "results").exists()


def test_the_command_line_overrides_the_configuration(project, jobs):
    result = project.snakemake("-n", "--config", "seeds=[7]", "tuning=false")
    config = read_yaml(project.folder / "config" / "config.yaml")
    planned = jobs(result.stdout)
    assert planned["train"] == len(
        Experiment({**config, "seeds": [7], "tuning": False}, project.folder / "config").runs
    )
    assert "tune" not in planned


def test_any_run_can_be_a_target(project, jobs):
    target = "results/runs/iwslt14/reluformer+gamma=3/seed9/scores.json"
    result = project.snakemake("-n", "--", target)
    assert result.returncode == 0, result.stdout
    planned = jobs(result.stdout)
    assert planned["tune"] == planned["score"] == 1
    assert planned["train"] == 1 + 2, "the run waits for the tuning of its system, whose first round is two runs"


def test_the_report_of_a_partial_result_stays_partial(project, jobs):
    report = "results/paper/report.html"
    choice = ("only=[ffn-activation]", "partial=true")
    planned = project.snakemake("-n", "-p", "--config", *choice, "--", report).stdout
    command = next(line for line in planned.splitlines() if "Shell command: cp " in line)
    words = shlex.split(command.partition("Shell command:")[2])
    assert not (project.folder / words[1]).exists()  # a dry run writes nothing
    settings_file = project.folder / words[2]
    settings_file.parent.mkdir(parents=True)
    settings = yaml.safe_load((project.folder / "config" / "config.yaml").read_text(encoding="utf-8"))
    settings_file.write_text(json.dumps({**settings, "only": ["ffn-activation"], "partial": True}), encoding="utf-8")
    again = ("--forcerun", "report", "--configfile", str(settings_file), "--", report)  # as in `make report`
    planned_again = jobs(project.snakemake("-n", *again).stdout)
    assert planned_again["report"] == planned_again["study_ffn_activation"] == 1
    assert not {"fetch", "prepare", "train", "translate", "score"} & planned_again.keys()
