from reluformer.config.metrics import metric
from reluformer.config.settings import read_json
from reluformer.config.studies import AnswerConfig
from reluformer.files import write_json
from reluformer.paper.notes import SOURCE_NOTE, answer, footer, reported, reported_lines, toy_stamp, updates_line
from reluformer.paper.outputs import read_claims
from reluformer.paper.runs import read_runs
from reluformer.paper.study import write_tables


def frame_of(example, study, *names):
    return read_runs(example.experiment, study, [metric(name) for name in names], example.results)


def test_a_toy_is_labelled_everywhere(make):
    assert toy_stamp(make(toy=True).experiment).startswith("TOY CONFIGURATION: ")
    assert toy_stamp(make().experiment) is None


def test_the_footer_states_dataset_updates_seeds_and_holes(make):
    example = make(toy=True, seeds=[1, 2])
    example.write(example.experiment.study_runs("ffn-activation")[0])
    lines = footer(example.experiment, "ffn-activation", frame_of(example, "ffn-activation"), example.results)
    assert lines[0].startswith("Dataset: Some sentences. Updates: 500. Cells: mean ± standard deviation over 2 seeds,")
    assert lines[0].endswith("[the mean's 95 % interval by Student's t].")
    assert lines[1] == "5 of 6 runs are not there yet; their cells say so."


def test_the_footer_states_the_units_of_sentences_and_segments(make):
    unit = "Source lengths of single sentences are in words, those of segments in subword tokens."
    beside = {"document-length": {"lengths": ["sentence", 64], "packing": ["within"]}}
    for studies, stated in ((beside, True), ({}, False)):
        example = make(studies=studies)
        frame = frame_of(example, "document-length")
        assert (unit in footer(example.experiment, "document-length", frame, example.results)) == stated


def test_updates_follow_the_recipe(make):
    override = {"system": "ffn-softmax", "training": {"updates": 900}}
    experiment = make(overrides=[override]).experiment
    assert updates_line(experiment, "gamma") == "Updates: 200."
    assert updates_line(experiment, "ffn-activation") == "Updates: 500 to 900, depending on the run."


TUNING = {
    "seed": 9,
    "datasets": {"sentences": "sentences"},
    "grid": {"*": {"learning_rate": [0.001, 0.002]}, "ffn-softmax": {"slots": [32, 64]}},
}


def tuned(make, **config):
    return make(only=["ffn-activation"], training={"validate_bleu": True}, tuning=TUNING, **config)


def test_the_footer_says_how_each_system_was_tuned(make):
    example = tuned(make)
    content = {
        "widened": {"learning_rate": [0.004]},
        "edges": ["learning_rate"],
        "runs": [{}] * 3,
        "seed": 9,
        "choice": {"changes": {"learning_rate": 0.004}},
    }
    write_json(example.results / "tuning" / "some-sentences" / "transformer.json", content)
    content = {**content, "widened": {}, "edges": [], "choice": None}
    write_json(example.results / "tuning" / "some-sentences" / "ffn-softmax.json", content)
    lines = footer(example.experiment, "ffn-activation", frame_of(example, "ffn-activation"), example.results)
    titles = {
        name: example.experiment.systems[name].title for name in example.experiment.studies["ffn-activation"].systems
    }
    assert lines[1:4] == [
        f"Tuning of {titles['transformer']}: learning_rate ∈ {{0.001, 0.002}}, learning_rate widened by 0.004; "
        "3 runs of seed 9; chosen: learning_rate 0.004, learning_rate still best at the edge.",
        f"Tuning of {titles['ffn-softmax']}: slots ∈ {{32, 64}}; 3 runs of seed 9; "
        "chosen: nothing, as every run diverged.",
        f"Tuning of {titles['ffn-softmax-layernorm']}: learning_rate ∈ {{0.001, 0.002}}; not tuned yet.",
    ]


def test_tuned_tables_show_the_validation_score_next_to_the_test_score(make):
    example = tuned(make)
    run = example.experiment.study_runs("ffn-activation")[0]
    example.write(run)
    summary = example.folder(run) / "summary.json"
    write_json(summary, {**read_json(summary), "tuned": {"changes": {}, "source": "x", "validation_bleu": 31.25}})
    write_tables(example.experiment, "ffn-activation", example.results)
    table = example.results / "paper" / "tables" / "ffn-activation.md"
    assert "validation BLEU of its tuning" in table.read_text() and "31.25" in table.read_text()
    plain = make(only=["ffn-activation"])
    write_tables(plain.experiment, "ffn-activation", plain.results)
    assert "tuning" not in table.read_text().lower()


def test_real_lengths_are_shown_next_to_each_limit(make):
    example = make()
    for run in example.experiment.study_runs("document-length"):
        if run.dataset.endswith("-64"):
            example.write(run)
    lines = footer(example.experiment, "document-length", frame_of(example, "document-length"), example.results)
    assert (
        "L = 64 (within documents): test sources have mean 50, median 48, 90th percentile 60, longest 64 tokens; "
        "75% reach L/2." in lines
    )
    assert "L = 128 (within documents): lengths not known, no run is scored." in lines


def test_the_answer_is_computed(make):
    example = make(seeds=[1, 2])
    best = {"0.25": 20.0, "0.5": 24.0, "1": 25.0, "2": 24.9, "learned": 22.0}
    for run, point in example.experiment.study_points("gamma").items():
        value = str(point.values[0])
        if value == "4":
            example.write(run, diverged=True)
        elif value != "0.5":
            example.write(run, score=best[value] + run.seed)
    config = example.experiment.studies["gamma"].answer
    text = answer(config, frame_of(example, "gamma", "tokenized_bleu"))
    assert text.startswith(
        f"“{config.question}” Here, of the search space γ ∈ {{0.25, 0.5, 1, 2, 4, learned}}, γ = 1 is best"
    )
    assert "26.50 ± 0.71 (2 seeds)" in text
    assert "within 0.3 of it: 2;" in text and "the range over all values is 5.00" in text
    assert "diverged: 4" in text and "not run: 0.5" in text


def test_without_two_values_there_is_no_answer(make):
    example = make()
    config = AnswerConfig(key="gamma", symbol="γ", metric="bleu", question="Which?")
    first, second, *_ = example.experiment.study_runs("gamma")
    assert "Not answered yet" in answer(config, frame_of(example, "gamma", "bleu"))
    example.write(first, score=20.0)
    assert "Not answered yet: no two of γ ∈ {0.25, 0.5, " in answer(config, frame_of(example, "gamma", "bleu"))
    example.write(second, diverged=True)
    assert "γ = 0.25 is best" in answer(config, frame_of(example, "gamma", "bleu"))


def test_every_reported_figure_carries_its_source(make):
    claims = read_claims(make().experiment)
    lines = reported_lines(claims, "ffn-activation")
    assert "BLEU with ReLU 34.22 (S); with Softmax 33.08 (S)" in lines[0] and lines[-1] == SOURCE_NOTE
    assert reported_lines(claims, "anisotropy") == []
    assert reported([{"what": "x", "value": "1", "source": "?"}]) == "x 1 (?)"
