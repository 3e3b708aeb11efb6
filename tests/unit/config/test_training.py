"""Mirrors `reluformer.config.training`."""

from __future__ import annotations

import pytest

from reluformer.config.settings import SettingsError, parse
from reluformer.config.training import TrainingConfig


@pytest.mark.parametrize(
    "wrong",
    [{"zero_stage": 3}, {"precision": "fp8"}, {"updates": 0}, {"schedule": "step"}],
)
def test_refuses(wrong):
    with pytest.raises(SettingsError, match=f"recipe: {next(iter(wrong))}"):
        parse(TrainingConfig, wrong, "recipe")


def test_compile_excludes_activation_checkpointing():
    both = {"compile": True, "activation_checkpointing": True}
    with pytest.raises(SettingsError, match=r"recipe: compile: True: is incompatible with activation_checkpointing"):
        parse(TrainingConfig, both, "recipe")
    assert parse(TrainingConfig, {"compile": True}, "recipe").compile


def test_a_removed_key_loads_with_its_default_and_is_refused_with_another_value():
    assert parse(TrainingConfig, {"adam_eps": 1e-8, "stop_on": "loss"}, "recipe") == TrainingConfig()
    with pytest.raises(SettingsError, match=r"^recipe: stop_on: this key was removed; every run uses 'loss'$"):
        parse(TrainingConfig, {"stop_on": "bleu"}, "recipe")
