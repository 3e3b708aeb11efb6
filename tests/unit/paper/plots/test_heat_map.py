import json

import pytest
from matplotlib import colormaps

from reluformer.paper.figures import draw
from reluformer.paper.plots import heat_map
from reluformer.paper.plots.style import luminance

WEIGHTS, GAMMAS = [0.03, 0.1, 0.3, 1], [1, 2, 4]


def filled(make, lost=(), diverged=(), **config):
    """The study `penalty` with tokenised BLEU 100·γ + 10·λ + seed."""
    made = make(**config)
    for run, point in made.experiment.study_points("penalty").items():
        weight, gamma = point.values
        if (weight, gamma) not in lost:
            made.write(run, diverged=(weight, gamma) in diverged, score=100 * gamma + 10 * weight + run.seed)
    return made


def numbers(axes):
    """{(column, row): text} of a panel's cells."""
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_a_cell_is_the_mean_over_seeds_at_a_pair_of_values(make, plot_of):
    made = filled(make, seeds=[1, 2])
    drawing = heat_map.draw(plot_of(made, "penalty", "bleu"))
    bleu = drawing.figure.axes[0]
    assert bleu.get_xlabel() == "γ" and bleu.get_ylabel() == "λ"
    assert [text.get_text() for text in bleu.get_xticklabels()] == [f"{value:g}" for value in GAMMAS]
    assert [text.get_text() for text in bleu.get_yticklabels()] == [f"{value:g}" for value in WEIGHTS]
    expected = {
        (column, row): f"{100 * gamma + 10 * weight + 1.5:.2f}"
        for column, gamma in enumerate(GAMMAS)
        for row, weight in enumerate(WEIGHTS)
    }
    assert numbers(bleu) == expected
    assert "Mean over 2 seeds" in drawing.notes[0] and drawing.notes[-1] == "The best cell of each panel is framed."


@pytest.mark.parametrize(("metric", "corner"), [("tokenized_bleu", (1.5, 2.5)), ("best_valid_loss", (-0.5, -0.5))])
def test_the_best_cell_is_framed_whichever_direction_is_better(make, plot_of, metric, corner):
    made = filled(make)
    for run, point in made.experiment.study_points("penalty").items():
        path = made.folder(run) / "summary.json"
        loss = sum(point.values)
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "best_valid_loss": loss}))
    plot = plot_of(made, "penalty", kind="heat-map", x="gamma", rows="penalty.weight", y=[metric])
    (frame,) = heat_map.draw(plot).figure.axes[0].patches
    assert frame.get_xy() == corner


def test_nothing_is_best_where_all_are_equal(make, plot_of):
    _, equal, *_ = heat_map.draw(plot_of(filled(make), "penalty", "bleu")).figure.axes
    assert equal.get_title() == "best validation loss" and not equal.patches


def test_a_hole_says_why(make, plot_of):
    made = filled(make, lost=[(0.1, 2)], diverged=[(1, 1)])
    axes = heat_map.draw(plot_of(made, "penalty", "bleu")).figure.axes[0]
    assert numbers(axes)[1, 1] == "not run" and numbers(axes)[0, 3] == "diverged"


def test_without_runs_every_cell_says_so(make, plot_of):
    axes = heat_map.draw(plot_of(make(), "penalty", "bleu")).figure.axes[0]
    assert set(numbers(axes).values()) == {"not run"} and not axes.patches


def test_lightness_rises_evenly_so_that_grey_shows_the_same_order():
    shades = [luminance(colormaps[heat_map.COLOURS](step / 10)) for step in range(11)]
    assert shades == sorted(shades) and shades[-1] - shades[0] > 0.5


@pytest.mark.parametrize("step", range(11))
def test_numbers_are_read_on_every_shade(step):
    shade = colormaps[heat_map.COLOURS](step / 10)
    dark, light = sorted((luminance(shade), luminance(heat_map.readable_on(shade))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, AA


def test_systems_have_panels_of_their_own(make, plot_of):
    change = {"systems": ["reluformer", "attention-relu-scaled"], "vary": {"slots": [8, 16], "gamma": [1, 2]}}
    made = make(studies={"penalty": {**change, "baseline": None, "figures": {}}})
    made.fill("penalty")
    drawing = heat_map.draw(plot_of(made, "penalty", kind="heat-map", x="gamma", rows="slots", y=["bleu"]))
    titles = [axes.get_title().replace("\n", " ") for axes in drawing.figure.axes if axes.get_title()]
    assert titles == ["BLEU (sacreBLEU), ReLUFormer", "BLEU (sacreBLEU), Scaled ReLU attention, no penalty"]


def test_the_figure_is_written(make):
    made = filled(make)
    draw(made.experiment, "penalty", made.results)
    assert (made.results / "paper" / "figures" / "penalty-bleu.svg").stat().st_size > 1000
