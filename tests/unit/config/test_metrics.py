import pytest

from reluformer.config.metrics import METRICS, metric
from reluformer.config.settings import SettingsError

FILES = {
    "scores.json": {"metrics": {"bleu": {"score": 12.345}, "s_bleu": None, "sentence_count_agreement": 0.5}},
    "analysis.json": {
        "kinds": {"ffn": {"top_share": {"0.2": 0.9}, "entropy": None}, "attention": {"beyond": {"128": 0.25}}}
    },
    "summary.json": {"updates": 500, "final_loss": float("nan"), "parameters": True},
}


def test_values_are_found_in_their_files():
    assert metric("bleu").read(FILES) == 12.345
    assert metric("updates").read(FILES) == 500.0
    assert metric("sentence_count_agreement").read(FILES) == 0.5
    assert metric("ffn.top_share.0.2").read(FILES) == 0.9
    assert metric("attention.beyond.128").read(FILES) == 0.25


def test_a_value_that_is_no_number_is_absent():
    for name in ("s_bleu", "chrf", "final_loss", "parameters", "ffn.entropy", "decoding_speed"):
        assert metric(name).read(FILES) is None, name


def test_values_are_formatted_by_metric():
    assert metric("bleu").show(12.346) == "12.35"
    assert metric("ffn.top_share.0.2").show(0.905, 0.011) == "90.5% ± 1.1%"
    assert metric("updates").show(50000.0, 0.0) == "50,000"
    assert metric("bleu").show(0.1 + 0.2, 1e-17) == "0.30" and metric("bleu").show(30.0, 0.001) == "30.00 ± 0.00"


def test_every_metric_is_found_by_its_own_name():
    assert all(metric(name).name == name for name in METRICS)
    assert metric("cross_attention.punctuation_share").path == ("kinds", "cross_attention", "punctuation_share")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("bleuu", "bleu"),
        ("fn.entropy", "ffn.entropy"),
        ("ffn.anisotropie", "ffn.anisotropy"),
        ("ffn.top_share.3", "ffn.top_share"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    with pytest.raises(SettingsError, match=f"unknown metric '{name}'; did you mean '{near}"):
        metric(name)


def test_differences_and_intervals_as_text():
    assert metric("bleu").show_difference(1.234) == "+1.23" and metric("updates").show_difference(-1200) == "-1,200"
    assert metric("bleu").show_interval((0.5, 1.0)) == "[0.50, 1.00]"
    assert metric("bleu").tested and not metric("updates").tested
