"""Mirrors `reluformer.training.errors`: what the worker makes of each is in test_resume and test_worker."""

from __future__ import annotations

from reluformer.config.settings import SettingsError
from reluformer.training.errors import Interrupted, TrainingError


def test_a_failed_training_is_not_a_mistake_in_the_configuration():
    assert not issubclass(TrainingError, SettingsError) and not issubclass(Interrupted, TrainingError)
