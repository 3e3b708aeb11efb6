import pytest

from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.settings import SettingsError, parse


def test_too_few_samples_are_named():
    with pytest.raises(SettingsError, match="bootstrap"):
        parse(SignificanceConfig, {"bootstrap": 10}, "here")
