"""Mirrors `reluformer.training.finish`; the outputs of a training are looked at in test_worker."""

from __future__ import annotations


def test_checkpoints_outlive_outputs_that_cannot_be_written(training):
    """The folder of the outputs is a file: the training fails, and its state is still there for the next start."""
    each = training("a", updates=20)
    each.output.write_text("in the way")
    assert each.start().wait() == 1
    assert list(each.checkpoints.glob("*/update-00000016"))
    assert "output: could not be written" in each.messages() and "the checkpoints are kept" in each.messages()
    each.output.unlink()
    each.finish()
    assert "going on from update 16" in each.messages()
    assert each.summary()["updates"] == 20
