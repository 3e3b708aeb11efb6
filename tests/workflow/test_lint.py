"""`snakemake --lint` finds nothing; the rules' environment and the container match the test environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_workflow_is_clean(project):
    result = project.snakemake("--lint")
    assert result.stdout.rstrip().endswith("Congratulations, your workflow is in a good condition!"), result.stdout


def test_the_environment_of_the_rules_is_that_of_the_tests():
    environment = yaml.safe_load((ROOT / "workflow" / "envs" / "reluformer.yaml").read_text("utf-8"))
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pinned = [line.partition(" ;")[0] for line in lines if line and not line.startswith("#")]
    assert environment["dependencies"][-1] == {"pip": pinned} and "torch==2.13.0" in pinned


def test_the_container_is_built_from_existing_files():
    definition = (ROOT / "workflow" / "envs" / "reluformer.def").read_text("utf-8")
    sections = dict(section.split("\n", 1) for section in definition.split("\n%")[1:])
    copied = [line.split()[0] for line in sections["files"].split("\n") if line.strip()]
    assert copied and all((ROOT / file).is_file() for file in copied) and "pip install" in sections["post"]
    assert 'container: "reluformer.sif"' in (ROOT / "workflow" / "Snakefile").read_text("utf-8")
