"""Mirrors `reluformer.training.files`."""

from __future__ import annotations

import json

import pytest

from reluformer.training.files import replace, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"x": float("nan")})

    def fails(temporary):
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        replace(path, fails)
    assert json.loads(path.read_text()) == {"x": 1}


def test_write_text_replaces(tmp_path):
    path = tmp_path / "a"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two" and [p.name for p in tmp_path.iterdir()] == ["a"]
