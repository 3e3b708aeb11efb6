"""Mirrors `reluformer.config.training`."""

from __future__ import annotations

import pytest

from reluformer.config.settings import SettingsError, parse
from reluformer.config.training import TrainingConfig


@pytest.mark.parametrize(
    "wrong",
    [{"zero_stage": 3}, {"precision": "fp8"}, {"updates": 0}, {"schedule": "step"}, {"divergence_patience": 0}],
)
def test_refuses(wrong):
    with pytest.raises(SettingsError, match=f"recipe: {next(iter(wrong))}"):
        parse(TrainingConfig, wrong, "recipe")


def test_a_compiled_layer_is_not_computed_again():
    both = {"compile": True, "activation_checkpointing": True}
    with pytest.raises(SettingsError, match=r"recipe: compile: True: cannot be had with activation_checkpointing"):
        parse(TrainingConfig, both, "recipe")
    assert parse(TrainingConfig, {"compile": True}, "recipe").compile
