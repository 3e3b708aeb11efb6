"""The workflow run from another folder, used as a module of another workflow, and moved with its results."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Project

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

OUTER = """
configfile: {config!r}
module reluformer:
    snakefile: {snakefile!r}
    config: config
use rule * from reluformer as reluformer_*
rule mine:
    default_target: True
    input: rules.reluformer_all.input
"""


def test_a_module_plans_what_the_workflow_plans_in_another_folder(tmp_path, jobs):
    snakefile, config = ROOT / "workflow" / "Snakefile", ROOT / "config" / "demo.yaml"
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "Snakefile").write_text(OUTER.format(config=str(config), snakefile=str(snakefile)))
    outer = Project(tmp_path)
    module = outer.snakemake("-n")
    assert module.returncode == 0, module.stdout
    (tmp_path / "other").mkdir()
    direct = outer.snakemake("-n", "-s", str(snakefile), "-d", "other", "--configfile", str(config))
    assert direct.returncode == 0, direct.stdout
    expected = {f"reluformer_{rule}": count for rule, count in jobs(direct.stdout).items()}
    assert expected.pop("reluformer_all") == 1 and expected["reluformer_train"] > 40
    planned = jobs(module.stdout)
    assert planned.pop("mine") == 1 and planned.pop("total") == expected.pop("reluformer_total")
    assert planned == expected


def test_a_module_can_be_fetched_from_a_repository(tmp_path, jobs):
    """As from GitHub, with the configuration in the working folder."""
    repository, mine = tmp_path / "repository", tmp_path / "mine"
    shutil.copytree(ROOT / "workflow", repository / "workflow")
    git = ["git", "-C", repository, "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    shutil.copytree(ROOT / "config", mine / "config")
    (mine / "workflow").mkdir()
    snakefile = f"git+file://{repository}/workflow/Snakefile@main"
    (mine / "workflow" / "Snakefile").write_text(OUTER.format(config="config/demo.yaml", snakefile=snakefile))
    planned = Project(mine).snakemake("-n")
    assert planned.returncode == 0 and jobs(planned.stdout)["reluformer_train"] > 40, planned.stdout
    (mine / "config" / "systems.yaml").unlink()
    assert "needs the project's folder config/" in Project(mine).snakemake("-n").stdout


def test_results_move_with_their_folders(smoke, tmp_path):
    for name in ("results", "resources", ".snakemake", "workflow", "config", "smoke", "archives"):
        shutil.copytree(smoke.folder / name, tmp_path / name, symlinks=True)  # keeps timestamps, as `cp -a` does
    moved = Project(tmp_path).snakemake("-n", "--configfile", "smoke/smoke.yaml", "--config", "archives=archives")
    assert "Nothing to be done" in moved.stdout, moved.stdout
