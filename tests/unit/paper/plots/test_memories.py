import pytest

from reluformer.paper.plots import memories
from reluformer.paper.plots.base import mean_of


def test_a_measure_of_each_layer_encoder_first(make, plot_of):
    example = make()
    example.fill("anisotropy")
    axes = memories.draw_layers(plot_of(example, "anisotropy", "layers")).figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["enc 1", "enc 2", "dec 1", "dec 2"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.1, 0.2])


def test_far_apart_values_get_a_logarithmic_scale(make, plot_of):
    example = make()
    example.fill("variance-ratio")
    assert memories.draw_layers(plot_of(example, "variance-ratio", "layers")).figure.axes[0].get_yscale() == "log"


def test_places_of_a_kind_are_averaged_over_runs():
    first = {
        "encoder.0.attention": {"kind": "encoder_attention", "beyond": {"128": 0.2}},
        "encoder.0.ffn": {"kind": "ffn"},
    }
    second = {"encoder.0.attention": {"kind": "encoder_attention", "beyond": {"128": 0.4}}}
    runs = [memories.by_place({"places": places}, "attention", "beyond", "128") for places in (first, second, {})]
    assert mean_of(runs) == {"encoder.0.attention": pytest.approx(0.3)}
    assert memories.by_place({"places": first}, "cross_attention", "beyond", "128") == {}


def test_places_have_short_names():
    assert memories.short("decoder.1.cross_attention") == "cross 2" and memories.short("encoder.0.ffn") == "enc 1"


def test_without_runs_the_panel_of_layers_says_so(make, plot_of):
    figure = memories.draw_layers(plot_of(make(), "anisotropy", "layers")).figure
    assert figure.axes[0].texts[0].get_text() == "no run has it"


def test_curves_of_each_system(make, plot_of):
    example = make()
    example.fill("concentration")
    figure = memories.draw_top_shares(plot_of(example, "concentration", "top-share")).figure
    assert [axes.get_title() for axes in figure.axes] == [
        "FFN: weight held by the top slots",
        "FFN: gradient held by the top slots",
        "FFN: value norm held by the top slots",
    ]
    softmax = figure.axes[0].lines[1]
    assert list(softmax.get_xdata())[:2] == [0.1, 0.2]
    assert list(softmax.get_ydata())[1] == pytest.approx(0.002**0.2) and list(softmax.get_ydata())[-1] == 1.0


def test_without_runs_the_panels_say_so(make, plot_of):
    figure = memories.draw_top_shares(plot_of(make(), "concentration", "top-share")).figure
    assert all(axes.texts[0].get_text() == "no run has it" for axes in figure.axes)


def test_theory_and_measurement_next_to_trained_models(make, plot_of):
    example = make()
    example.fill("length-variance")
    example.law()
    drawing = memories.draw_variance_law(plot_of(example, "length-variance", "law"))
    left, right = drawing.figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in left.lines}
    assert lines["theory for ReLU: n/2"] == [2**power / 2 for power in range(3, 13)]
    assert lines["ReLU, measured"][0] == pytest.approx(8 / 2.02)
    assert left.get_yscale() == "log"
    assert right.get_title() == "trained models: encoder.1.attention"
    assert list(drawing.handles["ReLUFormer"].get_ydata()) == pytest.approx([0.2 * n**0.1 for n in (4, 8, 16, 32, 64)])
    assert "Direct ReLU attention" not in drawing.handles and "Direct ReLU" in drawing.notes[1]
    assert drawing.notes[0] == "Gaussian inputs: the measured variance of ReLU is 0.99 to 0.99 times n/2."


def test_without_files_both_panels_say_so(make, plot_of):
    left, right = memories.draw_variance_law(plot_of(make(), "length-variance", "law")).figure.axes
    assert left.texts[0].get_text() == "not measured yet" and right.texts[0].get_text() == "no run has it"
