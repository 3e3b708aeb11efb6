import pytest

from reluformer.evaluation.config import SignificanceConfig
from reluformer.settings import SettingsError, parse


def test_the_defaults_are_sacrebleus():
    assert SignificanceConfig().model_dump() == {"bootstrap": 1000, "randomisation": 10000}


def test_too_few_samples_are_refused():
    with pytest.raises(SettingsError, match="bootstrap"):
        parse(SignificanceConfig, {"bootstrap": 10}, "here")
