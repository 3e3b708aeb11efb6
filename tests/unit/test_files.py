"""Files are the old one or the whole new one."""

from __future__ import annotations

import json
import math
import os

import pytest

from reluformer.files import replace, write_by_content, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"größe": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"x": math.nan})

    def fails(temporary):
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        replace(path, fails)
    assert json.loads(path.read_text(encoding="utf-8")) == {"größe": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_write_text_replaces_and_keeps_line_ends(tmp_path):
    path = tmp_path / "a"
    write_text(path, "one")
    write_text(path, "two\r\nthree\n")
    assert path.read_bytes() == b"two\r\nthree\n" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_is_as_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        replace(tmp_path / "a", lambda temporary: os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600)))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_file_by_content_is_named_by_nothing_else(tmp_path):
    path = write_by_content(tmp_path, {"b": 1, "a": "ä"}, write=False)
    assert not path.exists() and not any(tmp_path.iterdir())
    assert write_by_content(tmp_path, {"a": "ä", "b": 1}) == path
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ä", "b": 1}
    assert write_by_content(tmp_path, {"a": "ä", "b": 2}) != path
