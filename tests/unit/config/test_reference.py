"""config/README.md documents every key, and is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reluformer.config.reference import escaped, reference_text
from reluformer.config.schemas import SCHEMAS, schema_text

README = Path(__file__).parents[3] / "config" / "README.md"


def test_the_page_is_that_of_the_models():
    assert README.read_text(encoding="utf-8") == reference_text(), "run `make format`"


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
