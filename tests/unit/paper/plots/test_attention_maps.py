import numpy as np
import pytest

from reluformer.paper.plots import attention_maps


def test_two_systems_side_by_side_with_tokens(make, plot_of):
    example = make()
    example.fill("attention-activation")
    plot = plot_of(example, "attention-activation", "maps")
    figure = attention_maps.draw(plot).figure
    assert [axes.get_title() for axes in figure.axes] == ["Transformer (ReLU FFN, Softmax attention)", "ReLUFormer"]
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels[:3] == ["_configure", "_the", "_device"] and labels[5] == r"\$x_" and len(labels) == 17
    with np.load(example.results / "runs" / plot.frame()["run"][0] / "attention.npz") as arrays:
        expected = arrays["encoder.1"].astype(np.float32).mean(axis=0)
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(expected)


def test_a_long_segment_is_shown_whole_and_enlarged(make, plot_of):
    example = make()
    example.fill("distance")
    drawing = attention_maps.draw(plot_of(example, "distance", "maps"))
    whole, _, close, _ = drawing.figure.axes
    assert whole.images[0].get_array().shape == (100, 100) and close.images[0].get_array().shape == (32, 32)
    assert "its first 32 tokens" in drawing.notes[1]


def test_cross_attention_has_targets_as_rows(make, plot_of):
    example = make()
    example.fill("distance")
    plot = plot_of(
        example, "distance", kind="attention-maps", attention="cross", layer=0, systems=["reluformer"], window=8
    )
    whole, close = attention_maps.draw(plot).figure.axes
    assert whole.images[0].get_array().shape == (120, 100)
    assert [text.get_text() for text in close.get_yticklabels()][:2] == ["_configure", ","]


def test_a_missing_map_states_the_reason(make, plot_of):
    example = make()
    transformer = example.experiment.study_runs("attention-activation")[0]
    example.write(transformer, diverged=True)
    figure = attention_maps.draw(plot_of(example, "attention-activation", "maps")).figure
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["diverged", "not run"]


def test_a_single_sentence_is_a_separate_figure():
    weights = np.array([[0.0, 1.0, 0.5], [0.25, 0.0, 0.0]])
    figure = attention_maps.draw_sentence(weights, ["▁a", "b$"], ["x", "y", "z"], "cross-attention, layer 1")
    (axes,) = figure.axes
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(weights)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["_a", r"b\$"]
    assert axes.get_title() == "cross-attention, layer 1"
