from __future__ import annotations

import pytest

from reluformer.config.analysis import AnalysisConfig
from reluformer.config.settings import SettingsError, parse


def test_the_defaults_measure_the_test_split():
    assert AnalysisConfig().split == "test"


@pytest.mark.parametrize("change", [{"split": "dev"}, {"top_rows": 0}, {"rows": 3}])
def test_mistakes_are_named(change):
    with pytest.raises(SettingsError, match=next(iter(change))):
        parse(AnalysisConfig, change, "analysis")
