import pytest

from reluformer.config.evaluation import AnalysisConfig, SignificanceConfig
from reluformer.config.settings import SettingsError, parse


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (AnalysisConfig, {"split": "dev"}),
        (AnalysisConfig, {"top_rows": 0}),
        (AnalysisConfig, {"rows": 3}),
        (SignificanceConfig, {"bootstrap": 10}),
    ],
)
def test_mistakes_are_named(model, change):
    with pytest.raises(SettingsError, match=next(iter(change))):
        parse(model, change, "here")
