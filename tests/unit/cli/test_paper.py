"""Every step from runs to the paper has a command."""

from __future__ import annotations


def test_help_lists_every_step_of_the_paper(run):
    result = run("--help")
    assert result.returncode == 0
    steps = ["variance-law", "study", "significance", "claims", "overview", "schemas"]
    assert all(f" {step} " in result.stdout for step in steps)
