"""Scores hypotheses against references."""
