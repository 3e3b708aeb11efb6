import pytest

from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.settings import SettingsError, parse


def test_the_defaults_are_sacrebleus():
    assert SignificanceConfig().model_dump() == {"bootstrap": 1000, "randomisation": 10000}


def test_too_few_samples_are_refused():
    with pytest.raises(SettingsError, match="bootstrap"):
        parse(SignificanceConfig, {"bootstrap": 10}, "here")
