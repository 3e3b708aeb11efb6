"""Searches as runs: their names, files and expected rounds."""

from __future__ import annotations

import pytest

from reluformer.config.search import Search, expected_rounds, replay
from reluformer.config.settings import SettingsError

START = {"learning_rate": 0.001, "gamma": 2}


@pytest.fixture
def search(workspace) -> Search:
    outcome = workspace.experiment().tuning.search("pairs", "reluformer")
    assert outcome is not None
    return outcome


def bleu(point):
    return 30.0 - abs(point["gamma"] - 1.9) - 1000 * abs(point["learning_rate"] - 0.0011)


def test_every_key_is_in_a_runs_name_and_its_recipe_last(search):
    assert search.start == START
    assert [run.path for run in search.first_runs()] == [
        f"pairs/reluformer+gamma=2+learning_rate={rate}+recipe=tuning/seed9" for rate in ("0.0005", "0.001")
    ]


def test_the_names_are_those_of_the_experiments_runs(workspace, search):
    experiment = workspace.experiment()
    for runs in expected_rounds(search):
        for run, config in runs.items():
            assert experiment.resolve(run) == config
            assert (config.training.updates, config.training.validate_bleu, config.seed) == (10, True, 9)
    assert experiment.resolve(list(expected_rounds(search)[1])[1]).model.cross_attention.options == {"gamma": 4}


def test_the_file_has_grid_runs_scores_and_choice(workspace, search):
    outcome = workspace.train(search, bleu)
    assert [run["changes"] for run in outcome["runs"]] == [
        {"learning_rate": 0.0005, "gamma": 2},
        {"learning_rate": 0.001, "gamma": 2},
        {"learning_rate": 0.002, "gamma": 2},
        {"learning_rate": 0.001, "gamma": 1},
        {"learning_rate": 0.001, "gamma": 4},
    ]
    assert [run["round"] for run in outcome["runs"]] == [0, 0, 1, 2, 2]
    assert outcome["grid"] == {"learning_rate": [0.0005, 0.001], "gamma": [1, 2, 4]} and outcome["start"] == START
    assert outcome["widened"] == {"learning_rate": [0.002]} and outcome["edges"] == [] and outcome["next"] == []
    assert outcome["choice"] == {
        "run": "pairs/reluformer+gamma=2+learning_rate=0.001+recipe=tuning/seed9",
        "changes": START,
        "status": "finished",
        "validation_bleu": bleu(START),
        "validation_loss": 3.0,
    }


def test_a_round_reads_only_its_own_runs(workspace, search):
    workspace.train(search, bleu)
    assert len(replay(search, workspace.results, 0)["next"]) == 2 and replay(search, workspace.results, 0)["runs"] == []
    first = replay(search, workspace.results, 1)
    assert first["next"] == ["pairs/reluformer+gamma=2+learning_rate=0.002+recipe=tuning/seed9"]
    assert first["choice"] is None and len(first["runs"]) == 2


def test_a_missing_run_is_named(workspace, search):
    with pytest.raises(SettingsError, match=r"pairs/reluformer: pairs/reluformer\+gamma=2\+.* has not been trained"):
        replay(search, workspace.results)


def test_where_every_run_diverged_nothing_is_chosen(workspace, search):
    assert workspace.train(search, lambda point: None)["choice"] is None


def test_expected_rounds_assume_no_widening_and_use_the_scores_so_far(workspace, search):
    guess = [[run.path for run in runs] for runs in expected_rounds(search)]
    assert [len(runs) for runs in guess] == [2, 2] and all("learning_rate=0.001" in path for path in guess[1])
    outcome = workspace.train(search, bleu)
    known = [run.path for runs in expected_rounds(search, workspace.results) for run in runs]
    assert known == [run["run"] for run in outcome["runs"]]


def test_widening_skips_values_that_the_key_does_not_allow(workspace):
    grid = {"reluformer": {"learning_rate": [0.001], "gamma": [2], "model.dropout": [0.2, 0.3, 0.4, 0.8]}}
    search = workspace.experiment(tuning={"grid": grid}).tuning.search("pairs", "reluformer")
    outcome = workspace.train(search, lambda point: 10 * point["dropout"])
    assert outcome["choice"]["changes"]["dropout"] == 0.8 and "dropout" in outcome["edges"], "1.6 is no probability"
    assert outcome["runs"][0]["run"].startswith("pairs/reluformer+dropout=0.3+gamma=2+")
