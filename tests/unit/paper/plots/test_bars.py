import pytest

from reluformer.paper.plots import bars


def test_bars_are_means_with_their_spread(make, plot_of):
    made = make(seeds=[1, 2])
    for run in made.experiment.study_runs("ffn-activation"):
        made.write(run, score=20.0 + run.seed)
    figure = bars.draw(plot_of(made, "ffn-activation", "bleu")).figure
    axes = figure.axes[0]
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([21.5] * 3)
    assert axes.texts[0].get_text() == "21.50 ± 0.71"
    assert [text.get_text() for text in axes.get_yticklabels()][1] == "Softmax in the FFN"


def test_a_bar_that_cannot_be_says_why(make, plot_of):
    made = make()
    for run in made.experiment.study_runs("ablation")[1:]:
        made.write(run, diverged=run.system == "attention-relu")
    drawing = bars.draw(plot_of(made, "ablation", "bars"))
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert texts[0] == "not run" and texts[2] == "diverged (update 312)"
    assert len(drawing.figure.axes[0].patches) == 1
