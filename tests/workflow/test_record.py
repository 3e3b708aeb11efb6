"""In a fresh clone, recorded runs are restored; nothing is fetched, prepared or trained for them."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from reluformer.config.experiment import Experiment
from reluformer.paper.record import take

pytestmark = pytest.mark.slow


def test_recorded_runs_are_restored_and_a_new_seed_alone_is_trained(project, smoke, jobs, monkeypatch):
    copytree(smoke.folder / "smoke", project.folder / "smoke")
    monkeypatch.chdir(project.folder)
    experiment = Experiment.from_files("config/config.yaml", "smoke/smoke.yaml")
    taken = take(experiment, smoke.folder / "results", Path("record/smoke"))
    assert len(taken.new) == len(experiment.runs) and taken.refused == []
    arguments = ("--configfile", "smoke/smoke.yaml", "--config", "record=record/smoke")
    table = "results/paper/tables/ffn-activation.csv"
    done = project.snakemake(*arguments, "--", table, "results/paper/corpora/numbers.html")
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(experiment.runs)} runs are recorded and not repeated" in done.stdout
    assert {"restore_training", "restore_scores", "restore_corpus"} <= jobs(done.stdout).keys()
    assert (project.folder / table).read_bytes() == (smoke.folder / table).read_bytes()
    planned = jobs(project.snakemake("-n", *arguments).stdout)
    rules = {"fetch", "prepare", "pack", "train", "translate", "score", "analyse", "measure", "variance_law"}
    assert not rules & planned.keys() and planned["report"] == 1
    more = jobs(project.snakemake("-n", *arguments, "seeds=[1,2]", "--", table).stdout)
    assert more["train"] == more["score"] == 3 and more["prepare"] == 1
