import pytest

from reluformer.cli.planning.gpus import CARDS, assumptions, card, modelled
from reluformer.cli.planning.kinds import with_vocabulary
from reluformer.cli.planning.sizes import read_sizes
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError


@pytest.fixture
def given(paper, tmp_path):
    sizes = read_sizes("iwslt14", paper.dataset("iwslt14"), tmp_path)
    return with_vocabulary(paper.resolve(Run("iwslt14", "transformer", 1)), 10_000), sizes


def test_a_faster_card_takes_less_but_launches_stay(given):
    slow, fast = (modelled(*given, CARDS[name], 0.4) for name in ("v100", "h100"))
    assert fast.update < slow.update < fast.update * 10
    config, sizes = given
    bf16 = config.model_copy(update={"training": config.training.model_copy(update={"precision": "bf16"})})
    assert 0.005 < modelled(bf16, sizes, CARDS["h100"], 1.0).update < fast.update


def test_the_update_of_the_common_recipe_is_of_the_right_size(given):
    # 6 · 36 M weights of the layers and the projection · about 4,096 tokens of each side, at 40 % of 66.9 TFLOP/s
    assert 0.02 < modelled(*given, CARDS["h100"], 0.4).update < 0.08


def test_an_unknown_card_is_refused_and_the_assumptions_are_said():
    with pytest.raises(SettingsError, match="did you mean 'h100'"):
        card("h10")
    assert "66.9" in assumptions(CARDS["h100"], 0.25)[0] and "25%" in assumptions(CARDS["h100"], 0.25)[0]
