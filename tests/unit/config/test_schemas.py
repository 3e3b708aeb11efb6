"""The schemas beside the rules are those of the models."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from reluformer.config.schemas import SCHEMAS, schema_text, write_schemas

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "workflow" / "schemas"
CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))
HEAD = "# yaml-language-server: $schema="


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_committed_schema_is_that_of_its_model(name):
    assert (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8") == schema_text(name)


def test_every_schema_is_written(tmp_path):
    write_schemas(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_an_editor_finds_the_schema_of_a_configuration_file_and_it_fits(path):
    first, _, text = path.read_text(encoding="utf-8").partition("\n")
    assert first.startswith(HEAD)
    schema = json.loads((path.parent / first.removeprefix(HEAD)).read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)
