"""Every step of the DAG has a command."""

from __future__ import annotations


def test_help_lists_every_step_of_the_dag(run):
    result = run("--help")
    assert result.returncode == 0
    steps = "fetch prepare pack corpus-page train translate-run score analyse"
    assert all(f" {step} " in result.stdout for step in steps.split())
