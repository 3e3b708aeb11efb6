"""The application is empty until the modules of commands add to it, and says so when called without a command."""

from __future__ import annotations


def test_no_command_prints_the_help(run):
    result = run()
    assert "Usage: " in result.stdout and " train " in result.stdout
