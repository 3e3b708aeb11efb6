"""Reading configuration: every mistake is a clear one-line error."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from reluformer.config.settings import SettingsError, Strict, load, merge, nearest, parse, read_yaml


class Inner(Strict):
    size: int = Field(1, ge=1)
    shape: str = "round"


class Outer(Strict):
    title: str
    inner: Inner = Inner()
    table: dict[str, Inner] = {}


def test_merge_recurses_into_mappings_and_replaces_everything_else():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"title": "t", "iner": {}}, "f.yaml: iner: unknown key; did you mean 'inner'?"),
        ({"title": "t", "inner": {"sice": 2}}, "f.yaml: inner.sice: unknown key; did you mean 'size'?"),
        ({"title": "t", "table": {"k": {"shap": "x"}}}, "f.yaml: table.k.shap: unknown key; did you mean 'shape'?"),
        ({"inner": {}}, "f.yaml: title: this key is required"),
        ({"title": "t", "inner": {"size": "many"}}, "f.yaml: inner.size: 'many': input should be a valid integer"),
        ({"title": "t", "inner": {"size": 0}}, "f.yaml: inner.size: 0: input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_value_and_nearest_name(data, message):
    with pytest.raises(SettingsError) as caught:
        parse(Outer, data, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nearest_names_the_closest_or_lists_them_all():
    assert nearest("reluformr", ["reluformer", "rela"]) == "; did you mean 'reluformer'?"
    assert nearest("zzz", ["b", "a"]) == "; valid: a, b"


def test_a_missing_file_names_its_neighbour(tmp_path: Path):
    (tmp_path / "systems.yaml").write_text("{}")
    with pytest.raises(SettingsError, match=r"no such file; did you mean 'systems.yaml'"):
        read_yaml(tmp_path / "system.yaml")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "a: \t b: c"])
def test_broken_yaml_is_one_line(tmp_path: Path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(Outer, path)
    assert "broken.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_configuration_cannot_be_changed_after_reading():
    with pytest.raises(ValueError):
        Inner().size = 3
