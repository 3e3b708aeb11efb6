import json

import pytest
from matplotlib import colormaps

from reluformer.paper.plots.base import grid, luminance
from reluformer.paper.plots.systems import (
    COLOURS,
    draw_bars,
    draw_buckets,
    draw_heat_map,
    draw_lines,
    place,
    readable_on,
)
from reluformer.paper.study import draw_figures

WEIGHTS, GAMMAS = [0.03, 0.1, 0.3, 1], [1, 2, 4]


def slots(run):
    return int(run.system.split("slots=")[1].split("+")[0])


def test_means_over_seeds_against_the_key(make, plot_of):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("memory-size"):
        example.write(run, score=slots(run) / 100 + run.seed)
    drawing = draw_lines(plot_of(example, "memory-size", "bleu"))
    axes = drawing.figure.axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.lines[0].get_xdata()) == [32, 128, 512]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([1.82, 2.78, 6.62])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["32", "128", "512"]
    assert len(drawing.handles) == 3 and len(axes.collections) == 3  # a line and a band per system


def test_a_value_that_is_no_number_is_set_apart(make, plot_of):
    example = make()
    example.fill("gamma")
    axes = draw_lines(plot_of(example, "gamma", "gamma")).figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.25", "0.5", "1", "2", "4", "learned"]
    assert list(axes.lines[0].get_xdata()) == [0, 1, 2, 3, 4]
    assert any(list(line.get_xdata()) == [5] for line in axes.lines[1:])


def test_a_missing_run_breaks_nothing(make, plot_of):
    example = make()
    for run in example.experiment.study_runs("memory-size"):
        if slots(run) != 128:
            example.write(run, diverged=slots(run) == 512)
    drawing = draw_lines(plot_of(example, "memory-size", "bleu"))
    assert list(drawing.figure.axes[0].lines[0].get_xdata()) == [32]
    assert drawing.notes[0].startswith("Diverged") and "3 of 9 runs" in drawing.notes[1]


def test_without_runs_the_panel_says_so(make, plot_of):
    drawing = draw_lines(plot_of(make(), "gamma", "gamma"))
    assert {axes.texts[0].get_text() for axes in drawing.figure.axes} == {"no run has it"}


def test_many_labels_are_rotated():
    _, (axes,) = grid(1)
    place(axes, [32, 64, 128, 256, 512, 1024, 2048, 3072, 4096])
    assert axes.get_xticklabels()[0].get_rotation() == 45


def test_each_packing_has_panels_of_its_own(make, plot_of):
    studies = {"document-length": {"lengths": [64, 128], "packing": ["within", "across"], "vary": {}}}
    example = make(studies=studies)
    example.fill("document-length")
    drawing = draw_lines(plot_of(example, "document-length", "bleu"))
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == [f"{name}, {how} documents" for how in ("within", "across") for name in ("d-BLEU", "s-BLEU")]
    assert len(drawing.handles) == 6 and list(drawing.figure.axes[2].lines[0].get_xdata()) == [64, 128]


def test_single_sentences_are_shown_once_for_each_system_as_its_first_series(make, plot_of):
    lengths = {"lengths": ["sentence", 64, 128], "packing": ["within", "across"]}
    example = make(studies={"document-length": {**lengths, "systems": ["transformer", "reluformer"]}})
    for run in example.experiment.study_runs("document-length"):
        example.write(run, score=30.0 if "@" not in run.dataset else 20.0)
    drawing = draw_lines(plot_of(example, "document-length", "bleu"))
    assert len(drawing.figure.axes) == 4 and len(drawing.handles) == 2 * 2  # systems, recipes
    for axes in (drawing.figure.axes[0], drawing.figure.axes[2]):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["sentence", "64", "128"]
        lines = [(list(line.get_xdata()), line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata())]
        assert lines.count(([1, 2], 21.0)) == 4
        assert lines.count(([0], 31.0)) == 2 * 3  # a mark with two caps
        filled = [line.get_markerfacecolor() for line in axes.lines if list(line.get_xdata()) == [1, 2]][::2]
        marks = [line for line in axes.lines if list(line.get_xdata()) == [0] and line.get_marker() not in "_|"]
        assert [mark.get_markerfacecolor() for mark in marks] == filled


def test_a_recipe_that_has_not_run_is_not_in_the_legend_for_its_single_sentences(make, plot_of):
    example = make(studies={"document-length": {"lengths": ["sentence", 64], "systems": ["transformer"]}})
    for run in example.experiment.study_runs("document-length"):
        if "@" not in run.dataset or "from-sentences" in run.system:
            example.write(run)
    drawing = draw_lines(plot_of(example, "document-length", "bleu"))
    assert [series.partition("recipe ")[2] for series in drawing.handles] == ["from-sentences"]


def test_bars_are_means_with_their_spread(make, plot_of):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=20.0 + run.seed)
    figure = draw_bars(plot_of(example, "ffn-activation", "bleu")).figure
    axes = figure.axes[0]
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([21.5] * 3)
    assert axes.texts[0].get_text() == "21.50 ± 0.71"
    assert [text.get_text() for text in axes.get_yticklabels()][1] == "Softmax in the FFN"


def test_a_missing_bar_states_the_reason(make, plot_of):
    example = make()
    for run in example.experiment.study_runs("ablation")[1:]:
        example.write(run, diverged=run.system == "attention-relu")
    drawing = draw_bars(plot_of(example, "ablation", "bars"))
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert texts[0] == "not run" and texts[2] == "diverged (update 312)"
    assert len(drawing.figure.axes[0].patches) == 1


def filled(make, lost=(), diverged=(), **config):
    """Fills the study `penalty` with tokenised BLEU 100·γ + 10·λ + seed."""
    example = make(**config)
    for run, point in example.experiment.study_points("penalty").items():
        weight, gamma = point.values
        if (weight, gamma) not in lost:
            example.write(run, diverged=(weight, gamma) in diverged, score=100 * gamma + 10 * weight + run.seed)
    return example


def numbers(axes):
    """Returns {(column, row): text} of a panel's cells."""
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_a_cell_is_the_mean_over_seeds_at_a_pair_of_values(make, plot_of):
    example = filled(make, seeds=[1, 2])
    drawing = draw_heat_map(plot_of(example, "penalty", "bleu"))
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
    example = filled(make)
    for run, point in example.experiment.study_points("penalty").items():
        path = example.folder(run) / "summary.json"
        loss = sum(point.values)
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "best_valid_loss": loss}))
    plot = plot_of(example, "penalty", kind="heat-map", x="gamma", rows="penalty.weight", y=[metric])
    (frame,) = draw_heat_map(plot).figure.axes[0].patches
    assert frame.get_xy() == corner


def test_no_cell_is_best_if_all_are_equal(make, plot_of):
    _, equal, *_ = draw_heat_map(plot_of(filled(make), "penalty", "bleu")).figure.axes
    assert equal.get_title() == "best validation loss" and not equal.patches


def test_a_missing_cell_states_the_reason(make, plot_of):
    example = filled(make, lost=[(0.1, 2)], diverged=[(1, 1)])
    axes = draw_heat_map(plot_of(example, "penalty", "bleu")).figure.axes[0]
    assert numbers(axes)[1, 1] == "not run" and numbers(axes)[0, 3] == "diverged"


def test_without_runs_every_cell_says_so(make, plot_of):
    axes = draw_heat_map(plot_of(make(), "penalty", "bleu")).figure.axes[0]
    assert set(numbers(axes).values()) == {"not run"} and not axes.patches


def test_lightness_rises_evenly_so_that_grey_shows_the_same_order():
    shades = [luminance(colormaps[COLOURS](step / 10)) for step in range(11)]
    assert shades == sorted(shades) and shades[-1] - shades[0] > 0.5


@pytest.mark.parametrize("step", range(11))
def test_numbers_are_legible_on_every_shade(step):
    shade = colormaps[COLOURS](step / 10)
    dark, light = sorted((luminance(shade), luminance(readable_on(shade))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, AA


def test_systems_have_panels_of_their_own(make, plot_of):
    change = {"systems": ["reluformer", "attention-relu-scaled"], "vary": {"slots": [8, 16], "gamma": [1, 2]}}
    example = make(studies={"penalty": {**change, "baseline": None, "figures": {}}})
    example.fill("penalty")
    drawing = draw_heat_map(plot_of(example, "penalty", kind="heat-map", x="gamma", rows="slots", y=["bleu"]))
    titles = [axes.get_title().replace("\n", " ") for axes in drawing.figure.axes if axes.get_title()]
    assert titles == ["BLEU (sacreBLEU), ReLUFormer", "BLEU (sacreBLEU), Scaled ReLU attention, no penalty"]


def test_the_figure_is_written(make):
    example = filled(make)
    draw_figures(example.experiment, "penalty", example.results)
    assert (example.results / "paper" / "figures" / "penalty-bleu.svg").stat().st_size > 1000


def test_all_systems_and_the_bucket_sizes_in_one_panel(make, plot_of):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=20.0 + run.seed)
    drawing = draw_buckets(plot_of(example, "ffn-activation", "length"))
    panel, behind = drawing.figure.axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["1–10", "11–20", "21–30", "31–40", "41–50", "≥ 51"]
    assert len(drawing.handles) == 3
    line = drawing.handles["Softmax in the FFN"].lines[0]
    assert list(line.get_ydata()) == pytest.approx([21.5, 20.5, 19.5, 18.5, 17.5, 16.5])
    assert [patch.get_height() for patch in behind.patches] == [1200, 600, 400, 300, 240, 40]
    assert behind.texts[0].get_text() == "1,200"


def test_whiskers_are_bootstrap_intervals_of_buckets_that_are_large_enough(make, plot_of):
    example = make(seeds=[1, 2])
    example.fill("ffn-activation")
    drawing = draw_buckets(plot_of(example, "ffn-activation", "length"))
    (bars,) = drawing.handles["Softmax in the FFN"].lines[2]
    heights = [round(float(top - bottom) / 2, 6) for (_, bottom), (_, top) in bars.get_segments()]
    assert heights == [0.5, 1.5, 2.5, 3.5, 4.5, 0.0]  # the last has 40 segments
    assert any(line.startswith("Whiskers: 95 % bootstrap interval") for line in drawing.notes)
    assert not any("standard deviation" in line for line in drawing.notes)


def test_a_panel_for_each_length_of_documents(make, plot_of):
    example = make()
    for run in example.experiment.study_runs("document-length"):
        if run.dataset.endswith("-64"):
            example.write(run, diverged=run.system.startswith("attention-sparsemax"))
    drawing = draw_buckets(plot_of(example, "document-length", "length"))
    panels = [axes for axes in drawing.figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["L = 64, within documents", "L = 128, within documents"]
    assert panels[0].get_xlabel() == "source length (subword tokens)"
    assert panels[1].texts[0].get_text() == "no run is scored"
    assert len(drawing.handles) == 5


def test_single_sentences_beside_documents_have_a_panel_of_their_own(make, plot_of):
    example = make(studies={"document-length": {"lengths": ["sentence", 64], "packing": ["within"]}})
    example.fill("document-length")
    drawing = draw_buckets(plot_of(example, "document-length", "length"))
    assert [axes.get_title() for axes in drawing.figure.axes][:2] == ["Single sentences", "L = 64, within documents"]
    assert drawing.figure.axes[0].get_xlabel() == "source length (words)"
