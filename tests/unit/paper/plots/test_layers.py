import pytest

from reluformer.paper.plots import layers


def test_a_measure_of_each_layer_encoder_first(make, plot_of):
    made = make()
    made.fill("anisotropy")
    axes = layers.draw(plot_of(made, "anisotropy", "layers")).figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["enc 1", "enc 2", "dec 1", "dec 2"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.1, 0.2])


def test_far_apart_values_get_a_logarithmic_scale(make, plot_of):
    made = make()
    made.fill("variance-ratio")
    assert layers.draw(plot_of(made, "variance-ratio", "layers")).figure.axes[0].get_yscale() == "log"


def test_places_of_a_kind_are_averaged_over_runs():
    first = {
        "encoder.0.attention": {"kind": "encoder_attention", "beyond": {"128": 0.2}},
        "encoder.0.ffn": {"kind": "ffn"},
    }
    second = {"encoder.0.attention": {"kind": "encoder_attention", "beyond": {"128": 0.4}}}
    assert layers.by_place([first, second, {}], "attention", "beyond", "128") == {
        "encoder.0.attention": pytest.approx(0.3)
    }
    assert layers.by_place([first], "cross_attention", "beyond", "128") == {}


def test_places_have_short_names():
    assert layers.short("decoder.1.cross_attention") == "cross 2" and layers.short("encoder.0.ffn") == "enc 1"


def test_without_runs_the_panel_says_so(make, plot_of):
    figure = layers.draw(plot_of(make(), "anisotropy", "layers")).figure
    assert figure.axes[0].texts[0].get_text() == "no run has it"
