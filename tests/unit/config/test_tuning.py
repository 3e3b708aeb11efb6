import pytest

from reluformer.config.settings import SettingsError, parse
from reluformer.config.tuning import TuningConfig


@pytest.mark.parametrize("values", [[], [1, 1], ["learned", "learned"]])
def test_a_key_of_the_grid_has_different_values(values):
    with pytest.raises(SettingsError, match=r"config.yaml: grid: .*rela: learning_rate: expected distinct values"):
        parse(TuningConfig, {"datasets": {}, "grid": {"rela": {"learning_rate": values}}}, "config.yaml")


def test_values_keep_their_kind():
    grid = {"*": {"gamma": [1, 0.5, "learned", None, True]}}
    assert TuningConfig(datasets={}, grid=grid).grid == grid
    assert [type(value) for value in TuningConfig(datasets={}, grid=grid).grid["*"]["gamma"]] == [
        *(int, float, str, type(None), bool)
    ]
