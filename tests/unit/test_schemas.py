"""The schemas beside the rules are those of the models."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.schemas import SCHEMAS, schema_text, write_schemas

FOLDER = Path(__file__).parents[2] / "workflow" / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_committed_schema_is_that_of_its_model(name):
    assert (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8") == schema_text(name)


def test_every_schema_is_written(tmp_path):
    write_schemas(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.schema.json" for name in SCHEMAS}
