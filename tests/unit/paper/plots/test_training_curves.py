from reluformer.config.run import Run
from reluformer.paper.plots import training_curves


def test_each_run_is_a_line_with_a_cross_where_it_diverged(make, plot_of):
    example = make(seeds=[1, 2])
    example.fill("length-variance")
    drawing = training_curves.draw(plot_of(example, "length-variance", "training"))
    left, right = drawing.figure.axes
    curves = [line for line in left.lines if len(line.get_xdata()) > 1]
    crosses = [line for line in left.lines if line.get_marker() == "X"]
    assert len(curves) == 8 and len(crosses) == 2 and len(drawing.handles) == 4
    assert list(crosses[0].get_xdata()) == [300]
    assert left.get_yscale() == right.get_yscale() == "log"


def test_a_study_without_outliers_keeps_a_linear_scale(make, plot_of):
    example = make()
    example.fill("ffn-activation")
    left, _ = training_curves.draw(plot_of(example, "ffn-activation", "training")).figure.axes
    assert left.get_yscale() == "linear"
    assert list(left.lines[0].get_xdata()) == list(range(20, 501, 20))


def test_learning_curves_are_of_the_validation_split(make, plot_of):
    example = make(seeds=[1, 2])
    example.fill("learning-curves")
    loss, bleu = training_curves.draw(plot_of(example, "learning-curves", "curves")).figure.axes
    assert [axes.get_title() for axes in (loss, bleu)] == ["validation loss (nats/token)", "validation BLEU (greedy)"]
    assert len(loss.lines) == len(bleu.lines) == 12
    assert list(bleu.lines[0].get_xdata()) == [100, 200, 300, 400, 500]
    assert bleu.get_yscale() == "linear"


def test_alignment_curves_show_the_gain_from_the_source(make, plot_of):
    curves = {"kind": "alignment-curves", "title": "Alignment"}
    example = make(studies={"learning-curves": {"figures": {"curves": curves}}})
    for run in example.experiment.study_runs("learning-curves"):
        example.write(run)
        lines = [f'{{"event": "valid", "update": {n}, "loss": 4.0, "source_gain": {n / 100}}}\n' for n in (10, 20)]
        (example.folder(run) / "log.jsonl").write_text("".join(lines))
    _, gain = training_curves.draw(plot_of(example, "learning-curves", "curves")).figure.axes
    assert gain.get_title() == "explained by the source (nats/token)" and len(gain.lines) == 6
    assert list(gain.lines[0].get_ydata()) == [0.1, 0.2]
    for run in example.experiment.study_runs("learning-curves"):
        (example.folder(run) / "log.jsonl").write_text(
            '{"event": "valid", "update": 9, "loss": 4.0, "dead_keys": 0.5}\n'
        )
    *_, dead = training_curves.draw(plot_of(example, "learning-curves", "curves")).figure.axes
    assert dead.get_title() == "share of keys without weight in any row" and list(dead.lines[0].get_ydata()) == [0.5]


def test_without_bleu_in_the_logs_the_panel_says_so(make, plot_of):
    example = make()
    example.fill("learning-curves")
    for run in example.experiment.study_runs("learning-curves"):
        log = example.folder(run) / "log.jsonl"
        log.write_text('{"event": "valid", "update": 1, "loss": 9.0}\n')
    _, bleu = training_curves.draw(plot_of(example, "learning-curves", "curves")).figure.axes
    assert bleu.texts[0].get_text() == "no run has it"


def test_a_loss_that_is_no_number_is_left_out(make, plot_of):
    example = make()
    run = example.experiment.study_runs("ffn-activation")[0]
    example.write(run)
    log = example.folder(run) / "log.jsonl"
    log.write_text('{"event": "train", "update": 1, "loss": 9.0}\n{"event": "train", "update": 2, "loss": null}\n')
    left, right = training_curves.draw(plot_of(example, "ffn-activation", "training")).figure.axes
    assert list(left.lines[0].get_ydata()) == [9.0]
    assert right.texts[0].get_text() == "no run has it"


def test_tuning_has_a_panel_per_system_and_a_line_per_run(tmp_path, paper):
    runs = [Run("iwslt14", f"{name}+recipe=tuning", 1000) for name in ("transformer", "rela", "rela+gamma=2")]
    for run in runs:
        folder = tmp_path / "runs" / run.path
        folder.mkdir(parents=True)
        log = "".join(f'{{"event": "valid", "update": {n}, "loss": 4, "bleu": {n / 100}}}\n' for n in (500, 1000))
        (folder / "log.jsonl").write_text(log)
    left, right = training_curves.draw_tuning(paper, runs, tmp_path).figure.axes
    assert [len(left.lines), len(right.lines)] == [1, 2] and list(left.lines[0].get_ydata()) == [5.0, 10.0]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["as it is", "gamma=2"]
