"""The experiment: expansion into runs, resolution of names, and mistakes that are caught before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError

ROOT = Path(__file__).parents[3]

CONFIG = {"title": "t", "datasets": {"sentences": "pairs", "documents": "papers"}, "seeds": [1, 2]}
CORPUS = {
    "reader": "lines",
    "archives": [{"name": "text.de"}, {"name": "text.en"}],
    "held_out": {"valid": 0.1, "test": 0.1},
    "files": {"train": {"src": "text.de", "tgt": "text.en"}},
}
DATASETS = {
    "pairs": {
        "title": "Pairs",
        "src": "de",
        "tgt": "en",
        "corpus": CORPUS,
        "model": {"width": 64},
        "training": {"updates": 100, "learning_rate": 0.001},
        "recipes": {"sweep": {"training": {"updates": 10}}},
    },
    "papers": {
        "title": "Papers",
        "src": "en",
        "tgt": "de",
        "corpus": {
            **CORPUS,
            "documents": True,
            "document_mark": "<d>",
            "segments": {"packing": ["within", "across"], "lengths": [64, 128]},
        },
    },
}
STUDIES = {
    "ffn": {"systems": ["transformer", "ffn-softmax"], "dataset": "sentences"},
    "attention": {"systems": ["transformer", "reluformer"], "dataset": "sentences"},
    "gamma": {
        "systems": ["reluformer"],
        "dataset": "sentences",
        "vary": {"gamma": [0.5, "learned"]},
        "recipe": "sweep",
    },
    "length": {"systems": ["reluformer"], "dataset": "documents", "lengths": [64, 128], "packing": ["across"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with the project's own systems and small studies."""
    (tmp_path / "datasets").mkdir()
    shutil.copy(ROOT / "config" / "systems.yaml", tmp_path)
    for name, dataset in DATASETS.items():
        (tmp_path / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(dataset))
    studies = {name: {"title": name, "question": "?", "columns": ["bleu"], **study} for name, study in STUDIES.items()}
    (tmp_path / "studies.yaml").write_text(yaml.safe_dump(studies))
    return tmp_path


def test_studies_expand_into_runs_and_share_them(folder):
    experiment = Experiment(CONFIG, folder)
    assert experiment.study_runs("gamma") == [
        Run("pairs", f"reluformer+gamma={gamma}+recipe=sweep", seed) for gamma in ("0.5", "learned") for seed in (1, 2)
    ]
    assert [run.dataset for run in experiment.study_runs("length")] == ["papers@across-64"] * 2 + [
        "papers@across-128"
    ] * 2
    shared = set(experiment.study_runs("ffn")) & set(experiment.study_runs("attention"))
    assert shared == {Run("pairs", "transformer", 1), Run("pairs", "transformer", 2)}
    assert len(experiment.runs) == 4 + 4 + 4 + 4 - 2


def test_stages_are_built_one_after_the_other_and_share_runs(folder):
    config = {**CONFIG, "stages": {"first": ["ffn"], "second": ["attention", "gamma"]}}
    first, both = Experiment({**config, "stage": "first"}, folder), Experiment(config, folder)
    assert list(first.studies) == ["ffn"] and list(both.studies) == ["ffn", "attention", "gamma"]
    added = both.stage_runs()
    assert set(added["first"]) == set(first.runs)
    assert {run.system.split("+")[0] for run in added["second"]} == {"reluformer"}
    with pytest.raises(SettingsError, match="stage: 'fist': unknown stage; did you mean 'first'"):
        Experiment({**config, "stage": "fist"}, folder)
    with pytest.raises(SettingsError, match="studies: 'fnn': unknown study"):
        Experiment({**config, "stages": {"first": ["fnn"]}}, folder)


def test_adding_a_seed_adds_only_that_seeds_runs(folder):
    before = Experiment(CONFIG, folder).runs
    after = Experiment({**CONFIG, "seeds": [1, 2, 3]}, folder).runs
    assert all(after[run] == config for run, config in before.items())
    assert {run.seed for run in after.keys() - before.keys()} == {3}


def test_system_config_recipe_override_and_name_override_the_dataset(folder):
    experiment = Experiment(
        {
            **CONFIG,
            "training": {"learning_rate": 0.002},
            "overrides": [{"dataset": "pairs", "system": "relu*", "training": {"processes": 2}}],
        },
        folder,
    )
    run = experiment.resolve(Run("pairs", "reluformer+gamma=0.5+slots=32+recipe=sweep", 7))
    assert (run.seed, run.src, run.tgt) == (7, "de", "en")
    assert (run.model.width, run.model.slots) == (64, 32)
    assert run.model.cross_attention.options == {"gamma": 0.5}
    assert run.model.ffn.activation == "relu"
    assert (run.training.updates, run.training.learning_rate, run.training.processes) == (10, 0.002, 2)
    plain = experiment.resolve(Run("pairs", "transformer", 1))
    assert (plain.training.updates, plain.training.processes) == (100, 1)


def test_every_system_of_the_project_resolves(folder):
    experiment = Experiment(CONFIG, folder)
    wanted = "transformer ffn-softmax ffn-softmax-layernorm attention-relu attention-relu-scaled attention-sparsemax"
    assert set(wanted.split()) | {"attention-entmax15", "rela", "reluformer"} <= set(experiment.systems)
    models = {name: experiment.resolve(Run("pairs", name, 1)).model for name in experiment.systems}
    assert len({model.model_dump_json() for model in models.values()}) == len(models)
    assert models["reluformer"].decoder_attention.penalty is not None
    assert models["transformer"].decoder_attention.activation == "softmax"


def test_reluformer_differs_from_scaled_relu_by_its_penalty_and_from_its_variants_by_place(folder):
    experiment = Experiment(CONFIG, folder)

    def attentions(name):
        model = experiment.resolve(Run("pairs", name, 1)).model
        return [model.encoder_attention, model.decoder_attention, model.cross_attention]

    relu, softmax = attentions("reluformer")[0], attentions("transformer")[0]
    assert attentions("attention-relu-scaled") == [relu.model_copy(update={"penalty": None})] * 3
    places = ("encoder", "decoder", "cross")
    names = [name for name in experiment.systems if name.startswith("reluformer-")]
    assert len(names) == 6
    for name in names:
        assert attentions(name) == [relu if place in name.split("-") else softmax for place in places]


def test_a_system_without_settings_is_the_transformer(folder, edit):
    edit(folder / "systems.yaml", "plain", value={"title": "Plain"})
    experiment = Experiment(CONFIG, folder)
    plain, known = (experiment.resolve(Run("pairs", name, 1)).model for name in ("plain", "transformer"))
    assert plain == known and plain.ffn.activation == "relu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "t"}, "config.yaml: titel: unknown key; did you mean 'title'?"),
        ({"seeds": "one"}, "config.yaml: seeds: 'one': input should be a valid list"),
        ({"only": ["gama"]}, "config.yaml: studies: 'gama': unknown study; did you mean 'gamma'?"),
        ({"datasets": {"sentences": "pears"}}, "config.yaml: datasets.sentences: 'pears': unknown dataset"),
        ({"training": {"updats": 3}}, "config.yaml: training: updats: unknown key; did you mean 'updates'?"),
        ({"studies": {"gamma": {"vary": {"gama": [1]}}}}, "did you mean 'gamma'?"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(folder, change, message):
    with pytest.raises(SettingsError) as caught:
        Experiment({**CONFIG, **change}, folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        (
            "studies.yaml",
            ("ffn", "systems"),
            ["transfomer"],
            "ffn: systems: 'transfomer': unknown system; did you mean",
        ),
        (
            "studies.yaml",
            ("ffn", "titles"),
            {"ffn-sofmax": "S"},
            "ffn: titles: 'ffn-sofmax': not a system of the study; did",
        ),
        (
            "studies.yaml",
            ("ffn", "titles"),
            {"transformer": "S", "ffn-softmax": "S"},
            "ffn: titles: transformer and ffn-softmax have the same title, 'S'",
        ),
        ("studies.yaml", ("ffn", "dataset"), "sentnces", "ffn: dataset: 'sentnces': unknown dataset; did you mean"),
        ("studies.yaml", ("ffn", "sytems"), [], "ffn: sytems: unknown key; did you mean 'systems'?"),
        ("studies.yaml", ("length", "lengths"), [65], "length: lengths: 65: the dataset has [64, 128]"),
        ("studies.yaml", ("ffn", "lengths"), [64], "is not a document dataset"),
        ("systems.yaml", ("rela", "attention", "activation"), "rellu", "rela: encoder_attention: activation: 'rellu'"),
        ("systems.yaml", ("rela", "attention", "options"), {"gamma": 1}, "relu has no option 'gamma'"),
        ("datasets/pairs.yaml", ("training", "updates"), "many", "training: updates: 'many': input should be a valid"),
        (
            "datasets/pairs.yaml",
            ("recipes", "sweep", "trainig"),
            {},
            "recipes.sweep.trainig: unknown key; did you mean",
        ),
        ("datasets/pairs.yaml", ("model", "heads"), 5, "heads: 5: does not divide the width 64"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_file(folder, edit, file, keys, value, message):
    edit(folder / file, *keys, value=value)
    with pytest.raises(SettingsError) as caught:
        Experiment(CONFIG, folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert Path(file).name in str(caught.value)


def test_a_dataset_may_be_a_file_of_ones_own(folder, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump(DATASETS["pairs"]))
    experiment = Experiment({**CONFIG, "datasets": {**CONFIG["datasets"], "sentences": str(own)}}, folder)
    assert experiment.study_runs("ffn")[0] == Run("mine", "transformer", 1)


def starting(folder, edit, value="{dataset}/{system}/seed{seed}"):
    recipes = {"scratch": {}, "from-sentences": {"training": {"start_from": value, "updates": 5}}}
    edit(folder / "datasets" / "papers.yaml", "recipes", value=recipes)
    edit(folder / "studies.yaml", "length", "vary", value={"recipe": ["scratch", "from-sentences"]})
    return Experiment(CONFIG, folder)


def test_a_run_starts_from_another_which_becomes_a_run_of_the_experiment(folder, edit):
    experiment = starting(folder, edit)
    names = [run.system for run in experiment.study_runs("length") if run.seed == 1]
    assert names == ["reluformer", "reluformer+recipe=from-sentences"] * 2
    run = Run("papers@across-64", "reluformer+gamma=7+recipe=from-sentences", 2)
    assert experiment.resolve(run).training.start_from == "papers/reluformer+gamma=7/seed2"
    runs = list(experiment.runs)
    start = runs.index(Run("papers", "reluformer", 1))
    assert start < runs.index(Run("papers@across-64", "reluformer+recipe=from-sentences", 1))
    assert experiment.runs[runs[start]].training.start_from is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{datset}/{system}/seed{seed}", "known are {dataset}, {system} and {seed}"),
        ("{dataset}/{system}", "a run is named DATASET/SYSTEM/seedN"),
        ("pairs/{system}/seed{seed}", "a run can only start from one on its own corpus, papers"),
        ("{dataset}@across-64/{system}+recipe=from-sentences/seed{seed}", "starts from"),
        ("{dataset}/transfomer/seed1", "unknown system; did you mean 'transformer'"),
        ("{dataset}/rela/seed1", "encoder.0.attention.output_norm is gated-rmsnorm there and nothing here"),
        ("{dataset}/reluformer+slots=32/seed1", "slots is 32 there and 1024 here"),
        ("{dataset}/reluformer+recipe=from-sentences/seed{seed}", "seed1 starts from papers/reluformer+recipe="),
    ],
)
def test_a_run_to_start_from_is_checked_before_anything_runs(folder, edit, value, message):
    with pytest.raises(SettingsError) as caught:
        starting(folder, edit, value)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_single_sentences_compared_with_segments_are_trained_once_from_scratch(folder, edit):
    starting(folder, edit)
    edit(folder / "studies.yaml", "length", "lengths", value=["sentence", 64])
    edit(folder / "studies.yaml", "length", "packing", value=["within", "across"])
    points = Experiment(CONFIG, folder).study_points("length")
    chosen = [(run.dataset, point.values) for run, point in points.items() if run.seed == 1]
    recipes = [("scratch",), ("from-sentences",)]
    views = [(f"papers@{packing}-64", values) for packing in ("within", "across") for values in recipes]
    assert chosen == [("papers", (None,)), *views]
    assert {run.system for run in points if run.dataset == "papers"} == {"reluformer"}


def test_a_stage_includes_the_runs_that_its_runs_start_from(folder, edit):
    starting(folder, edit)
    experiment = Experiment({**CONFIG, "stages": {"first": ["ffn"], "second": ["length"]}}, folder)
    second = experiment.stage_runs()["second"]
    assert second.index(Run("papers", "reluformer", 1)) < second.index(
        Run("papers@across-64", "reluformer+recipe=from-sentences", 1)
    )
    assert sum(map(len, experiment.stage_runs().values())) == len(experiment.runs)


def test_a_name_cannot_hold_the_name_of_a_run(folder, edit):
    edit(folder / "studies.yaml", "length", "vary", value={"start_from": ["papers/transformer/seed1"]})
    with pytest.raises(SettingsError, match="start_from: a run's name cannot contain '/': use a recipe of the dataset"):
        Experiment(CONFIG, folder)


def test_a_study_of_documents_without_lengths_uses_their_sentences(folder, edit):
    edit(folder / "studies.yaml", "length", "lengths", value=[])
    edit(folder / "studies.yaml", "length", "packing", value=[])
    assert {run.dataset for run in Experiment(CONFIG, folder).study_runs("length")} == {"papers"}


def test_summary_counts_runs_of_each_system_on_each_dataset(folder):
    lines = Experiment(CONFIG, folder).summary().splitlines()
    row = next(line.split() for line in lines if line.startswith("reluformer"))
    assert row == ["reluformer", "6", "4"]
    assert lines[1].startswith("14 runs")
