"""What ends a training with one clear sentence."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training that cannot go on, as one line for a person; its job fails."""


class Interrupted(Exception):
    """The training saved its state and leaves, because a signal asked for it."""
