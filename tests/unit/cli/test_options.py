"""Settings come as JSON or from configuration files."""

from __future__ import annotations

import json

import pytest

from reluformer.cli.options import experiment_of, parse_json
from reluformer.config.settings import SettingsError, merge, read_yaml


def test_settings_come_from_a_file_or_as_json(tmp_path):
    path = tmp_path / "an odd name {x}.json"
    path.write_text('{"a": "ä"}', encoding="utf-8")
    assert parse_json(str(path), "--settings") == parse_json('{"a": "ä"}', "--settings") == {"a": "ä"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file or directory"),
        (b"1", "expected a JSON object, found int"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "expected a JSON object, found list"),
    ],
)
def test_a_settings_file_that_is_none_is_one_line(tmp_path, content, said):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as error:
        parse_json(str(path), "--settings")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_configuration_of_the_workflow_brings_its_folder(tmp_path):
    whole = {"config": read_yaml("config/demo.yaml"), "folder": "config", "name": "config/demo.yaml"}
    whole["config"] = merge(read_yaml("config/config.yaml"), whole["config"])
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(whole))
    ours = experiment_of([str(path)])
    assert ours.runs == experiment_of(["config/demo.yaml"]).runs and ours.name == "config/demo.yaml"
