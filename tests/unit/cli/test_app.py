"""The application, the examples of its commands, shell completion and settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from reluformer.cli import models, results, steps, tools  # noqa: F401  register commands
from reluformer.cli.app import PEOPLE, STEPS, app, experiment_of, parse_settings
from reluformer.config.dataset import ArchiveConfig
from reluformer.config.settings import SettingsError, merge, read_yaml


def test_no_command_prints_the_help(run):
    result = run()
    assert "Usage: " in result.stdout and " train " in result.stdout


COMMANDS = sorted(get_command(app).commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_right(command, monkeypatch, name):
    """The examples use existing commands and options, with all required arguments."""
    monkeypatch.setenv("COLUMNS", "400")
    known = get_command(app).commands
    head, *lines = known[name].epilog.split("\n\n")
    assert head == "Examples:" and lines and known[name].rich_help_panel in (PEOPLE, STEPS)
    shown = command(name, "--help").out
    for line in lines:
        assert line in shown
        words = shlex.split(re.search(r"reluformer (.*)", line.partition(" < ")[0].partition(" | jq")[0])[1])
        assert words[0] == name or (name, words[0]) == ("export", "translate")
        known[words[0]].make_context(words[0], words[1:])  # raises if an option or an argument is wrong


def test_completion_knows_commands_and_options():
    def completed(words: str) -> str:
        environment = {**os.environ, "_RELUFORMER_COMPLETE": "complete_bash", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(words.count(" "))
        command = [sys.executable, "-m", "reluformer.cli"]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    assert {"translate", "translate-run"} <= set(completed("reluformer trans").split())
    assert "--n-best" in completed("reluformer translate --n").split()


def test_settings_come_from_a_file_or_as_json(tmp_path):
    path = tmp_path / "an odd name {x}.json"
    path.write_text('{"name": "ä"}', encoding="utf-8")
    expected = ArchiveConfig(name="ä")
    assert parse_settings(ArchiveConfig, str(path)) == parse_settings(ArchiveConfig, '{"name": "ä"}') == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"1", "expected a mapping of keys to values, found int"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"name": "/"}', "an archive's name is a plain file name"),
    ],
)
def test_an_invalid_settings_file_is_a_one_line_error(tmp_path, content, said):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as error:
        parse_settings(ArchiveConfig, str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_configuration_of_the_workflow_brings_its_folder(tmp_path):
    whole = {"config": read_yaml("config/demo.yaml"), "folder": "config", "name": "config/demo.yaml"}
    whole["config"] = merge(read_yaml("config/config.yaml"), whole["config"])
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(whole))
    ours = experiment_of([str(path)])
    assert ours.runs == experiment_of(["config/demo.yaml"]).runs and ours.name == "config/demo.yaml"
