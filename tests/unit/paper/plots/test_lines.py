import pytest

from reluformer.paper.plots import lines
from reluformer.paper.plots.style import grid


def slots(run):
    return int(run.system.split("slots=")[1].split("+")[0])


def test_means_over_seeds_against_the_key(make, plot_of):
    made = make(seeds=[1, 2])
    for run in made.experiment.study_runs("memory-size"):
        made.write(run, score=slots(run) / 100 + run.seed)
    drawing = lines.draw(plot_of(made, "memory-size", "bleu"))
    axes = drawing.figure.axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.lines[0].get_xdata()) == [32, 128, 512]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([1.82, 2.78, 6.62])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["32", "128", "512"]
    assert len(drawing.handles) == 3 and len(axes.collections) == 3  # a line and a band a system


def test_a_value_that_is_no_number_stands_apart(make, plot_of):
    made = make()
    made.fill("gamma")
    axes = lines.draw(plot_of(made, "gamma", "gamma")).figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.25", "0.5", "1", "2", "4", "learned"]
    assert list(axes.lines[0].get_xdata()) == [0, 1, 2, 3, 4]
    assert any(list(line.get_xdata()) == [5] for line in axes.lines[1:])


def test_a_hole_breaks_nothing(make, plot_of):
    made = make()
    for run in made.experiment.study_runs("memory-size"):
        if slots(run) != 128:
            made.write(run, diverged=slots(run) == 512)
    drawing = lines.draw(plot_of(made, "memory-size", "bleu"))
    assert list(drawing.figure.axes[0].lines[0].get_xdata()) == [32]
    assert drawing.notes[0].startswith("Diverged") and "3 of 9 runs" in drawing.notes[1]


def test_without_runs_the_panel_says_so(make, plot_of):
    drawing = lines.draw(plot_of(make(), "gamma", "gamma"))
    assert {axes.texts[0].get_text() for axes in drawing.figure.axes} == {"no run has it"}


def test_many_values_are_turned():
    _, (axes,) = grid(1)
    lines.place(axes, [32, 64, 128, 256, 512, 1024, 2048, 3072, 4096])
    assert axes.get_xticklabels()[0].get_rotation() == 45


def test_each_packing_has_panels_of_its_own(make, plot_of):
    studies = {"document-length": {"lengths": [64, 128], "packing": ["within", "across"], "vary": {}}}
    made = make(studies=studies)
    made.fill("document-length")
    drawing = lines.draw(plot_of(made, "document-length", "bleu"))
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == [f"{name}, {how} documents" for how in ("within", "across") for name in ("d-BLEU", "s-BLEU")]
    assert len(drawing.handles) == 6 and list(drawing.figure.axes[2].lines[0].get_xdata()) == [64, 128]


def test_single_sentences_stand_beside_every_series_of_their_system(make, plot_of):
    lengths = {"lengths": ["sentence", 64, 128], "packing": ["within", "across"]}
    made = make(studies={"document-length": {**lengths, "systems": ["transformer", "reluformer"]}})
    for run in made.experiment.study_runs("document-length"):
        made.write(run, score=30.0 if "@" not in run.dataset else 20.0)
    drawing = lines.draw(plot_of(made, "document-length", "bleu"))
    assert len(drawing.figure.axes) == 4 and len(drawing.handles) == 2 * 2  # systems, recipes
    for axes in (drawing.figure.axes[0], drawing.figure.axes[2]):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["sentence", "64", "128"]
        found = [(list(line.get_xdata()), line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata())]
        assert found.count(([1, 2], 21.0)) == 4
        assert found.count(([0], 31.0)) == 4 * 3  # a mark with two caps
