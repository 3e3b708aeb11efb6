"""What a study of speed and memory measures."""

import pytest
from pydantic import ValidationError

from reluformer.config.measured import MeasuringConfig


def test_lengths_are_asked_for():
    assert MeasuringConfig(lengths=[8]).rounds >= 1
    for wrong in ({}, {"lengths": []}, {"lengths": [8], "rounds": 0}, {"lengths": [8], "limit": 0}):
        with pytest.raises(ValidationError):
            MeasuringConfig(**wrong)
