import pytest

from reluformer.paper.plots import top_share


def test_curves_of_each_system(make, plot_of):
    made = make()
    made.fill("concentration")
    figure = top_share.draw(plot_of(made, "concentration", "top-share")).figure
    assert [axes.get_title() for axes in figure.axes] == [
        "FFN: weight held by the top slots",
        "FFN: gradient held by the top slots",
        "FFN: value norm held by the top slots",
    ]
    softmax = figure.axes[0].lines[1]
    assert list(softmax.get_xdata())[:2] == [0.1, 0.2]
    assert list(softmax.get_ydata())[1] == pytest.approx(0.002**0.2) and list(softmax.get_ydata())[-1] == 1.0


def test_means_over_runs_leave_out_what_is_missing():
    assert top_share.mean_curve([{"0.1": 0.2, "1": None}, {"0.1": 0.4}, {}]) == [(0.1, pytest.approx(0.3))]


def test_without_runs_the_panels_say_so(make, plot_of):
    figure = top_share.draw(plot_of(make(), "concentration", "top-share")).figure
    assert all(axes.texts[0].get_text() == "no run has it" for axes in figure.axes)
