"""A mistake is one line and exit code 2."""

from __future__ import annotations

import pytest


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
def test_a_mistake_is_one_line_and_exit_code_2(run, tmp_path, arguments, message):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("reluformer: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
