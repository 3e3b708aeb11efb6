"""Snakemake started in unusual ways, with names full of shell and glob characters, and next to other runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
"""The environment of a cron job, without an activated virtual environment."""
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
ODD = 'it\'s [1] $(touch pwned); `touch pwned` "é" & *?'
CORPUS = {
    "title": "Numbers",
    "src": "fi",
    "tgt": "pt",
    "corpus": {
        "reader": "lines",
        "archives": [{"name": f"{ODD}.fi"}, {"name": "-n.pt"}],
        "files": {"train": {"src": f"{ODD}.fi", "tgt": "-n.pt"}},
        "held_out": {"valid": 0.1, "test": 0.1},
        "vocabulary": 64,
    },
}
STATISTICS = "results/corpora/numbers/statistics.json"


def snakemake(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = BARE | {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    command = ["timeout", "-k", "5", "200", SNAKEMAKE, "--cores", "1", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def odd(smoke_project, tmp_path) -> Path:
    """A project whose path, archives and archive folder have odd names; the archives are behind a link."""
    root = smoke_project().folder
    project = tmp_path / f"project {ODD}"
    shutil.move(root, project)
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (project / "archives" / "numbers.fi").rename(elsewhere / f"{ODD}.fi")
    (project / "archives" / "numbers.pt").rename(elsewhere / "-n.pt")
    (project / f"a {ODD}").mkdir()
    (project / f"a {ODD}" / "link").symlink_to(elsewhere)
    (project / "numbers.yaml").write_text(json.dumps(CORPUS), encoding="utf-8")
    config = {"title": "odd", "datasets": {"sentences": str(project / "numbers.yaml")}, "seeds": [1], "tuning": None}
    (project / "c.yaml").write_text(json.dumps({**config, "toy": True}))
    (project / "tokenize.py").write_text("raise SystemExit('a script of my own')\n")
    return project


@pytest.mark.slow
def test_odd_names_without_an_activated_environment(odd):
    archives = f"archives={odd / f'a {ODD}'}"
    result = snakemake(odd, "--configfile", "c.yaml", "--config", archives, "--", STATISTICS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (odd / STATISTICS).is_file() and (odd / "resources" / "numbers" / f"{ODD}.fi").is_file()
    assert not list(odd.rglob("pwned"))


@pytest.mark.slow
def test_from_another_folder_a_dry_run_writes_and_locks_nothing(odd, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    arguments = ("-n", "-s", odd / "workflow" / "Snakefile", "--configfile", odd / "c.yaml", "--", STATISTICS)
    result = snakemake(data, *arguments)
    assert result.returncode == 0 and "prepare" in result.stdout, result.stdout + result.stderr
    assert {path.name for path in data.iterdir()} <= {".snakemake"}
    assert not (data / ".snakemake" / "settings").exists()
    assert not list((data / ".snakemake").glob("locks/*"))


@pytest.mark.slow
def test_a_module_reports_stale_locks(odd, tmp_path):
    mine = tmp_path / "mine"
    locks = mine / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(STATISTICS + "\n")
    (mine / "Snakefile").write_text(
        f"""
configfile: {str(odd / "c.yaml")!r}
module paper:
    snakefile: {str(odd / "workflow" / "Snakefile")!r}
    config: config
use rule * from paper as paper_*
rule mine:
    default_target: True
    input: {STATISTICS!r}
"""
    )
    assert snakemake(mine, "-n").returncode == 0
    refused = snakemake(mine)
    assert refused.returncode == 1 and "cannot be locked" in refused.stderr and "--unlock" in refused.stderr
    assert (locks / "0.output.lock").is_file()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a b", "{}", "'a b': a name consists of letters"),
        ("-rf", "{}", "'-rf': a name consists of letters"),
        ("$(id)", "{}", "'$(id)': a name consists of letters"),
        ("x{y}", "{}", "'x{y}': a name consists of letters"),
    ],
)
def test_names_that_become_targets_are_refused(tmp_path, file, content, said):
    from reluformer.config.experiment import Experiment
    from reluformer.config.settings import SettingsError

    path = tmp_path / f"{file}.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError) as error:
        Experiment({"title": "t", "datasets": {"sentences": str(path)}})
    assert said in str(error.value) and "\n" not in str(error.value)
