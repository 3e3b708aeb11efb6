"""One look, for pipes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_once_is_plain_text_and_ends(run):
    result = run("watch", "--once", "--config", "config/demo.yaml", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout and result.stdout.splitlines()[0] == "ReLUFormer in small: the toy configuration"
    assert any(line.split()[:1] == ["train"] and " of " in line for line in result.stdout.splitlines())


def test_a_pipe_gets_one_look(run):
    assert run("watch", cwd=ROOT).returncode == 0
