from reluformer.paper.plots.plot import Plot


def test_series_are_named_by_what_tells_them_apart(make, plot_of):
    made = make()
    assert set(plot_of(made, "ablation", "bars").frame()["series"]) == {
        "ReLUFormer",
        "Scaled ReLU attention, no penalty",
        "Direct ReLU attention",
    }
    documents = plot_of(made, "document-length", kind="bars", y=["bleu"], systems=["reluformer"]).frame()
    assert list(documents["series"]) == ["ReLUFormer, L 64", "ReLUFormer, L 128"]
    gammas = plot_of(made, "gamma", kind="bars", y=["bleu"]).frame()
    assert list(gammas["series"])[:2] == ["ReLUFormer, γ 0.25", "ReLUFormer, γ 0.5"]
    assert list(gammas["series"])[-1] == "ReLUFormer, γ learned"


def test_what_is_on_the_x_axis_names_no_series(make, plot_of):
    frame = plot_of(make(), "document-length", "bleu").frame()
    assert "ReLUFormer" in set(frame["series"]) and len(set(frame["series"])) == 6


def test_a_system_looks_the_same_in_every_study(make, plot_of):
    made = make()
    looks = []
    for study, figure in (("ablation", "bars"), ("attention-activation", "bleu")):
        plot = plot_of(made, study, figure)
        looks.append(plot.looks(plot.frame())["ReLUFormer"])
    assert looks[0] == looks[1]


def test_series_of_one_system_differ_by_their_dashes(make, plot_of):
    plot = plot_of(make(), "document-length", kind="training-curves", systems=["reluformer"])
    first, second = plot.looks(plot.frame()).values()
    assert first["color"] == second["color"] and first["linestyle"] != second["linestyle"]


def test_notes_say_what_is_not_shown(make, plot_of):
    made = make(seeds=[1, 2])
    runs = made.experiment.study_runs("ablation")
    for run in runs:
        if run.system != "reluformer":
            made.write(run, diverged=run.system == "attention-relu")
    plot: Plot = plot_of(made, "ablation", "bars")
    assert plot.notes(plot.frame()) == [
        "Diverged, with the number of runs: Direct ReLU attention (2).",
        "2 of 6 runs are not there yet.",
        "Mean over 2 seeds; the spread is their standard deviation.",
    ]
