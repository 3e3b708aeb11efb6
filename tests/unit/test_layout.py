"""What import-linter cannot check: files stay small, and rules do no work of their own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from reluformer import __version__

ROOT = Path(__file__).parents[2]
LONGEST = 400


def test_files_stay_small():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "benchmarks").rglob("*.py")]
    assert len(files) > 100
    assert not [path for path in files if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST]


def test_nothing_in_the_workflow_imports_torch():
    rules = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    assert len(rules) > 5
    assert not [path for path in rules if "torch" in path.read_text(encoding="utf-8").replace("torchrun", "")]


def test_the_citation_has_the_packages_version_and_the_papers_id():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"] == __version__ and citation["cff-version"] == "1.2.0"
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "10.48550/arXiv.2302.06461"


def test_uv_locks_the_versions_that_the_tests_ran_with():
    """`uv lock` writes uv.lock; see CONTRIBUTING.md."""
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    packages = {package["name"]: package for package in tomllib.loads(text)["package"]}
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" ;")[0].split("==") for line in pinned if not line.startswith("#")]
    names = {re.sub(r"[-_.]+", "-", pair[0]).lower(): pair[1] for pair in pairs}
    assert {name: packages[name]["version"] for name in names} == names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = packages["reluformer"]
    assert ours["version"] == project["version"]
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[<>=;]", dependency)[0]) for dependency in project["dependencies"]}
    assert {dependency["name"] for dependency in ours["dependencies"]} == wanted
    assert set(re.findall(r"https?://([^/\"]+)", text)) == {"pypi.org", "files.pythonhosted.org"}
