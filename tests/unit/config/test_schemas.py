"""The committed schemas and config/README.md match the models."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from reluformer.config.schemas import SCHEMAS, escaped, reference_text, schema_text, write_schemas

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "workflow" / "schemas"
CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))
HEAD = "# yaml-language-server: $schema="


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_committed_schema_matches_its_model(name):
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


def test_the_page_matches_the_models():
    assert (ROOT / "config" / "README.md").read_text(encoding="utf-8") == reference_text(), "run `make format`"


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "run"])
def test_every_key_has_a_description(name):
    schema = json.loads(schema_text(name))
    models = [*schema.get("$defs", {}).values(), *([schema] if "properties" in schema else [])]
    missing = [key for model in models for key, value in model["properties"].items() if "description" not in value]
    assert missing == []


def test_keys_of_nested_models_have_a_path():
    text = reference_text()
    assert "**`corpus.archives[]`**: One file to fetch" in text and "**`NAME.figures.NAME`**" in text
    places = "`model.ffn`, `model.encoder_attention`, `model.decoder_attention`, `model.cross_attention`"
    assert f"**{places}**: One memory" in text
    assert "| `learning_rate` | number > 0 | `0.0005` | the peak |" in text


def test_marks_of_markdown_are_escaped_outside_of_code():
    assert escaped("a <d> * `*` ") == r"a \<d> \* `*` "
