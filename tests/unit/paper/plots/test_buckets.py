import pytest

from reluformer.paper.plots import buckets


def test_all_systems_and_the_bucket_sizes_in_one_panel(make, plot_of):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=20.0 + run.seed)
    drawing = buckets.draw(plot_of(example, "ffn-activation", "length"))
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
    drawing = buckets.draw(plot_of(example, "ffn-activation", "length"))
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
    drawing = buckets.draw(plot_of(example, "document-length", "length"))
    panels = [axes for axes in drawing.figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["L = 64, within documents", "L = 128, within documents"]
    assert panels[0].get_xlabel() == "source length (subword tokens)"
    assert panels[1].texts[0].get_text() == "no run is scored"
    assert len(drawing.handles) == 5


def test_single_sentences_beside_documents_have_a_panel_of_their_own(make, plot_of):
    example = make(studies={"document-length": {"lengths": ["sentence", 64], "packing": ["within"]}})
    example.fill("document-length")
    drawing = buckets.draw(plot_of(example, "document-length", "length"))
    assert [axes.get_title() for axes in drawing.figure.axes][:2] == ["Single sentences", "L = 64, within documents"]
    assert drawing.figure.axes[0].get_xlabel() == "source length (words)"
