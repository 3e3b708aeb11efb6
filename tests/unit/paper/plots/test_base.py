import xml.etree.ElementTree as ET

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reluformer.config.metrics import metric
from reluformer.paper.plots.base import (
    COLOURS,
    Drawing,
    Plot,
    empty,
    finish,
    grid,
    luminance,
    mean_of,
    measure,
    save,
    settle,
    style,
    wrap,
)


def test_systems_differ_by_colour_and_marker(make, plot_of):
    example = make()
    plot = plot_of(example, "ablation", "bars")
    looks = [plot.look(system) for system in example.experiment.systems]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == len(looks) > 9
    assert len({look["marker"] for look in looks[:9]}) == 9
    assert plot.look("reluformer") != plot.look("reluformer", variant=1)


def test_colours_are_visible_on_white():
    assert all((1.05 / (luminance(colour) + 0.05)) > 1.7 for colour in COLOURS)


def test_the_style_is_restored_after_its_block():
    before = matplotlib.rcParams["axes.grid"]
    with style():
        assert matplotlib.rcParams["axes.grid"] is True
    assert matplotlib.rcParams["axes.grid"] == before


@pytest.mark.parametrize("panels", [1, 2, 5])
def test_nothing_is_cut_off_and_nothing_overlaps(panels):
    with style():
        figure, axes = grid(panels)
        handles = {}
        for panel in axes:
            panel.set_xlabel("a label")
            for label in ("a system with a long name indeed", "another one", "a third one of the same length or so"):
                (handles[label],) = panel.plot([0, 1], [0, 1000])
        drawing = Drawing(figure, ["a note that is long enough to be broken into lines " * 3], handles)
        finish(drawing, "a title", "TOY CONFIGURATION: a stamp")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
        legend = figure.legends[0].get_window_extent(renderer)
        panel_boxes = [panel.get_tightbbox(renderer) for panel in axes]
        width, height = figure.bbox.width, figure.bbox.height
        for box in [*texts, legend, *panel_boxes]:
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert not any(legend.overlaps(box) for box in [*texts, *panel_boxes])
        assert not any(text.overlaps(box) for text in texts for box in panel_boxes)


def test_a_legend_of_one_entry_is_left_out():
    figure, (axes,) = grid(1)
    finish(Drawing(figure, [], {"only": axes.plot([0])[0]}), "a title", None)
    assert figure.legends == [] and figure.get_suptitle() == "a title"


def test_shares_are_percentages():
    _, (left, right) = grid(2)
    for axes, name in ((left, "ffn.used_slots"), (right, "bleu")):
        axes.plot([0, 1], [0, 1])
        measure(axes.yaxis, metric(name))
    assert left.yaxis.get_major_formatter()(0.5) == "50%"
    assert "%" not in right.yaxis.get_major_formatter()(0.5)


def test_an_empty_panel_states_the_reason():
    _, (axes,) = grid(1)
    empty(axes, "not run")
    assert axes.texts[0].get_text() == "not run"


def test_files_carry_no_date(tmp_path):
    with style():
        for name in ("a.svg", "b.svg"):
            figure, (axes,) = grid(1)
            axes.plot([0, 1])
            save(figure, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second and b"<dc:date>" not in first
    ET.fromstring(first)


def test_long_lines_are_wrapped():
    assert wrap("word " * 30, 5)[0].count("word") <= 13 and wrap("", 5) == [""]


def test_series_are_named_by_what_distinguishes_them(make, plot_of):
    example = make()
    assert set(plot_of(example, "ablation", "bars").frame()["series"]) == {
        "ReLUFormer",
        "Scaled ReLU attention, no penalty",
        "Direct ReLU attention",
    }
    documents = plot_of(example, "document-length", kind="bars", y=["bleu"], systems=["reluformer"]).frame()
    assert list(documents["series"]) == ["ReLUFormer, L 64", "ReLUFormer, L 128"]
    gammas = plot_of(example, "gamma", kind="bars", y=["bleu"]).frame()
    assert list(gammas["series"])[:2] == ["ReLUFormer, γ 0.25", "ReLUFormer, γ 0.5"]
    assert list(gammas["series"])[-1] == "ReLUFormer, γ learned"


def test_the_key_of_the_x_axis_is_not_in_the_names_of_series(make, plot_of):
    frame = plot_of(make(), "document-length", "bleu").frame()
    assert "ReLUFormer" in set(frame["series"]) and len(set(frame["series"])) == 6


def test_a_system_looks_the_same_in_every_study(make, plot_of):
    example = make()
    looks = []
    for study, figure in (("ablation", "bars"), ("attention-activation", "bleu")):
        plot = plot_of(example, study, figure)
        looks.append(plot.looks(plot.frame())["ReLUFormer"])
    assert looks[0] == looks[1]


def test_series_of_one_system_differ_by_their_dashes(make, plot_of):
    plot = plot_of(make(), "document-length", kind="training-curves", systems=["reluformer"])
    first, second = plot.looks(plot.frame()).values()
    assert first["color"] == second["color"] and first["linestyle"] != second["linestyle"]


def test_notes_list_what_is_not_shown(make, plot_of):
    example = make(seeds=[1, 2])
    runs = example.experiment.study_runs("ablation")
    for run in runs:
        if run.system != "reluformer":
            example.write(run, diverged=run.system == "attention-relu")
    plot: Plot = plot_of(example, "ablation", "bars")
    assert plot.notes(plot.frame()) == [
        "Diverged, with the number of runs: Direct ReLU attention (2).",
        "2 of 6 runs are not there yet.",
        "Mean over 2 seeds; the spread is their standard deviation.",
    ]


def test_means_over_runs_leave_out_missing_values():
    assert mean_of([{"0.1": 0.2, "1": None}, {"0.1": 0.4}, {}]) == {"0.1": pytest.approx(0.3)}


def test_the_last_digits_of_a_layout_do_not_change_the_file(tmp_path):
    """Between runs, a layout's positions differ by a few 1e-17, which changed the ids of an SVG's clipping paths."""
    written = set()
    for name, noise in (("one.svg", 0.0), ("two.svg", 3e-13)):
        with style():
            figure, panels = grid(2)
            figure.set_layout_engine(None)
            for panel in panels:
                panel.plot([0, 1], [0, 1])
                left, bottom, width, height = panel.get_position(original=True).bounds
                panel.set_position((left + noise, bottom - noise, width + noise, height))
            settle(figure)
            save(figure, tmp_path / name)
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1
