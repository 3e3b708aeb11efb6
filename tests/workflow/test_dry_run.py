"""`snakemake -n` plans the whole paper without network, and says how many runs of what."""

from __future__ import annotations

import json
import shlex

import pytest
import yaml

pytestmark = pytest.mark.slow


def test_the_papers_own_configuration_is_planned_and_counted(project, jobs):
    result = project.snakemake("-n")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert "306 runs (seeds 1, 2, 3)" in result.stdout
    row = next(line.split() for line in lines if line.startswith("reluformer "))
    assert row == ["reluformer", "21", "30"]
    assert jobs(result.stdout)["train"] == 306
    assert not (project.folder / "results").exists()


def test_changes_ride_on_the_command_line(project, jobs):
    result = project.snakemake("-n", "--config", "seeds=[7]")
    assert jobs(result.stdout)["train"] == 102


def test_a_run_of_ones_own_is_a_target(project, jobs):
    target = "results/runs/iwslt14/reluformer+gamma=3/seed9/scores.json"
    result = project.snakemake("-n", "--", target)
    assert result.returncode == 0, result.stdout
    assert jobs(result.stdout)["train"] == jobs(result.stdout)["score"] == 1


def test_the_report_of_a_partial_result_stays_partial(project, jobs):
    report = "results/paper/report.html"
    choice = ("only=[ffn-activation]", "partial=true")
    planned = project.snakemake("-n", "-p", "--config", *choice, "--", report).stdout
    command = next(line for line in planned.splitlines() if "Shell command: cp " in line)
    words = shlex.split(command.partition("Shell command:")[2])
    assert not (project.folder / words[1]).exists()  # a dry run writes nothing
    kept = project.folder / words[2]
    kept.parent.mkdir(parents=True)
    settings = yaml.safe_load((project.folder / "config" / "config.yaml").read_text(encoding="utf-8"))
    kept.write_text(json.dumps({**settings, "only": ["ffn-activation"], "partial": True}), encoding="utf-8")
    again = ("--forcerun", "report", "--configfile", str(kept), "--", report)  # as `make report` has it
    found = jobs(project.snakemake("-n", *again).stdout)
    assert found["report"] == found["study_ffn_activation"] == 1
    assert not {"fetch", "prepare", "train", "translate", "score"} & found.keys()
