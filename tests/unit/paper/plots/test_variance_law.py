import pytest

from reluformer.paper.plots import variance_law


def test_theory_and_measurement_beside_trained_models(make, plot_of):
    example = make()
    example.fill("length-variance")
    example.law()
    drawing = variance_law.draw(plot_of(example, "length-variance", "law"))
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
    left, right = variance_law.draw(plot_of(make(), "length-variance", "law")).figure.axes
    assert left.texts[0].get_text() == "not measured yet" and right.texts[0].get_text() == "no run has it"
