"""The command line: every step is there, and a mistake is one line and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from reluformer import cli
from reluformer.settings import SettingsError


def run(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reluformer.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_help_lists_every_step_of_the_dag():
    result = run("--help")
    assert result.returncode == 0
    steps = (
        "fetch prepare pack corpus-page train translate-run score analyse variance-law study claims overview schemas"
    )
    assert all(f" {step} " in result.stdout for step in steps.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "name a run (DATASET/SYSTEM/seedN), or give --settings"),
        (("train", "--settings", "{broken"), "--settings: not valid JSON"),
        (("train", "--settings", "[1]"), "--settings: expected a JSON object, found list"),
        (("train", "--settings", '{"dataset": "d", "sistem": "s"}'), "--settings: "),
        (("train", "a/b", "--config", "none.yaml"), "config/config.yaml: there is no such file"),
        (("fetch", "--output", "x", "--settings", '{"nam": "x"}'), "--settings: "),
        (("prepare", "a.gz", "--output", "x"), "name a dataset, or give --settings"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("reluformer: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_may_come_as_json(monkeypatch):
    seen = {}
    monkeypatch.setattr(cli, "Experiment", lambda config: seen.update(config))
    cli.experiment_of([json.dumps({"title": "t"})])
    assert seen == {"title": "t"}


def test_json_that_is_no_object_is_refused():
    with pytest.raises(SettingsError, match=r"--config: expected a JSON object, found int"):
        cli.parse_json("1", "--config")
