"""Which systems are tuned, which choice a run takes, and mistakes in the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError
from reluformer.config.tuning import apply_choice, read_choice


def test_every_system_of_a_tuned_dataset_has_as_many_runs(workspace):
    experiment = workspace.experiment()
    assert {search.system: search.budget for search in experiment.tuning.searches} == {
        "transformer": 4,
        "reluformer": 4,
    }
    assert len(experiment.tuning.runs()) == 8


def test_documents_take_the_choice_of_the_sentences_and_tuning_runs_none(workspace):
    experiment = workspace.experiment()
    for run in experiment.runs:
        assert experiment.tuning.search_for(run).path == f"tuning/pairs/{run.system.split('+')[0]}.json"
    assert not any(experiment.tuning.search_for(run) for run in experiment.tuning.runs())


def test_a_varied_value_stays_in_the_name_even_if_it_is_the_default(workspace):
    names = [run.system for run in workspace.experiment().study_runs("gamma")]
    assert names == [f"reluformer+gamma={gamma}+recipe=sweep" for gamma in (1, 2, 4)]
    untuned = [run.system for run in workspace.experiment(tuning=False).study_runs("gamma")]
    assert untuned[1] == "reluformer+recipe=sweep"


def test_a_system_may_take_the_choice_of_another_and_the_longest_pattern_counts(workspace):
    grid = {"*": {"learning_rate": [0.001]}, "transformer": "reluformer", "trans*": "rela"}
    experiment = workspace.experiment(tuning={"grid": grid})
    run = Run("pairs", "transformer", 1)
    assert experiment.tuning.search_for(run).path == "tuning/pairs/reluformer.json"
    assert [search.system for search in experiment.tuning.searches] == ["reluformer"]
    with pytest.raises(SettingsError, match=r"tuning.grid.rela: 'transformer' has no choice of its own"):
        workspace.experiment(tuning={"grid": {"rela": "transformer", "transformer": "reluformer"}})
    with pytest.raises(SettingsError, match=r"tuning.grid.rela: 'reluforner': unknown system; did you mean"):
        workspace.experiment(tuning={"grid": {"rela": "reluforner"}})


@pytest.mark.parametrize("off", [None, False])
def test_without_the_section_nothing_is_tuned(workspace, off):
    experiment = workspace.experiment(tuning=off)
    assert experiment.tuning.runs() == {} and not any(experiment.tuning.search_for(run) for run in experiment.runs)


def test_a_choice_made_before_is_taken_without_tuning_runs(workspace, tmp_path):
    file = tmp_path / "choice.json"
    content = {"next": [], "choice": {"changes": {"gamma": 4}, "validation_bleu": 30.5}}
    file.write_text(json.dumps(content), encoding="utf-8")
    experiment = workspace.experiment(tuning={"choices": {"reluformer": str(file)}})
    tuning = experiment.tuning
    assert [search.system for search in tuning.searches] == ["transformer"]
    for dataset in ("pairs", "papers@within-64"):
        run = Run(dataset, "reluformer", 1)
        assert tuning.choice_file(run, Path("results")) == file and tuning.search_for(run) is None
        trained = apply_choice(experiment.resolve(run), read_choice(tuning.choice_file(run, Path())))
        assert trained.model.cross_attention.options == {"gamma": 4}
        assert (trained.tuned.source, trained.tuned.validation_bleu) == (str(file), 30.5)
    own = experiment.resolve(Run("pairs", "reluformer+gamma=2", 1))
    assert own.system == "reluformer+gamma=2" and apply_choice(own, read_choice(file)).tuned.changes == {}
    assert tuning.choice_file(Run("pairs", "transformer", 1), Path("r")) == Path("r/tuning/pairs/transformer.json")


def test_a_choice_that_cannot_be_taken_is_one_line(workspace, tmp_path):
    for choices, message in (
        ({"reluforner": "x.json"}, r"tuning.choices: 'reluforner': unknown system; did you mean 'reluformer'"),
        ({"reluformer": str(tmp_path / "x.json")}, r"x.json: there is no such file"),
    ):
        with pytest.raises(SettingsError, match=message):
            workspace.experiment(tuning={"choices": choices})


def test_a_role_that_is_left_out_is_not_tuned(workspace):
    config = workspace.experiment().config.model_dump()
    config["tuning"]["datasets"] = {"sentences": "sentences"}
    experiment = Experiment(config, workspace.folder)
    tuned = {run.dataset: experiment.tuning.search_for(run) is not None for run in experiment.runs}
    assert tuned == {"pairs": True, "papers@within-64": False}


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"seed": -1}, r"config.yaml: tuning.seed: -1: input should be greater than or equal to 0"),
        ({"sead": 1}, r"config.yaml: tuning.sead: unknown key; did you mean 'seed'"),
        ({"seed": 1}, r"tuning.seed: 1: pairs/transformer/seed1 also has this seed"),
        ({"datasets": {"sentence": "sentences"}}, r"tuning.datasets.sentence: 'sentence': unknown role; did you mean"),
        ({"datasets": {"sentences": "words"}}, r"tuning.datasets.sentences: 'words': unknown role"),
        ({"datasets": {"sentences": "documents"}}, r"tuning.datasets.sentences: 'documents' is not tuned itself"),
        ({"grid": {"reluforner": {"gamma": [1, 2]}}}, r"tuning.grid: 'reluforner': unknown system; did you mean"),
        ({"grid": {"*": {"gama": [1, 2]}}}, r"gama: unknown key; did you mean 'gamma'"),
        ({"grid": {"*": {"learning_rate": [0.001, -1.0, 0.1, 0.2]}}}, r"tuning of pairs/transformer: training: learn"),
        ({"grid": {"*": {"learning_rate": [0.001]}}}, r"grid: reluformer has 4 runs and transformer 1: every system"),
        ({"recipe": None}, r"tuning of pairs/transformer: runs are ranked by validation BLEU, .*`validate_bleu: true`"),
    ],
)
def test_a_mistake_is_a_one_line_error(workspace, tuning, message):
    with pytest.raises(SettingsError, match=message):
        workspace.experiment(tuning=tuning)


def test_a_pinned_choice_of_earlier_versions_names_its_new_place(workspace):
    workspace.pairs = {"choices": {"reluformer": {"changes": {}, "source": "x"}}}
    with pytest.raises(SettingsError, match=r"pairs.yaml: choices: this key is now `tuning.choices` in config.yaml"):
        workspace.experiment()


def test_a_dataset_without_the_recipe_trains_as_it_is(workspace):
    experiment = workspace.experiment(tuning={"recipe": "another"})
    assert experiment.tuning.searches == [] and not any(experiment.tuning.search_for(run) for run in experiment.runs)
