"""How a tuned choice is applied to a run."""

from __future__ import annotations

import json

import pytest

from reluformer.config.run import ChoiceConfig, Run, RunConfig
from reluformer.config.settings import SettingsError
from reluformer.config.tuning import apply_choice, read_choice

CHOICE = ChoiceConfig(
    changes={"learning_rate": 0.002, "gamma": 4, "penalty.weight": 0.3}, source="choice.json", validation_bleu=30.5
)


def tuned(workspace, system: str) -> RunConfig:
    resolved = workspace.experiment().resolve(Run("pairs", system, 1))
    return apply_choice(resolved, CHOICE)


def gammas(run: RunConfig) -> list[float]:
    places = (run.model.encoder_attention, run.model.decoder_attention, run.model.cross_attention)
    return [place.options.get("gamma") for place in places]


def test_a_run_applies_the_choice_and_records_it(workspace):
    run = tuned(workspace, "reluformer")
    assert run.training.learning_rate == 0.002 and gammas(run) == [4, 4, 4]
    assert run.model.cross_attention.penalty.weight == 0.3 and run.model.cross_attention.penalty.margin == 0.7
    assert run.tuned == CHOICE and run.model.ffn.activation == "relu"


def test_a_change_in_the_name_overrides_the_choice_even_if_it_equals_the_default(workspace):
    run = tuned(workspace, "reluformer+gamma=2+recipe=sweep")
    assert gammas(run) == [2, 2, 2] and run.training.learning_rate == 0.002 and run.training.updates == 20
    assert run.tuned.changes == {"learning_rate": 0.002, "penalty.weight": 0.3}


def test_a_change_of_the_whole_overrides_the_choice_of_a_part(workspace):
    run = tuned(workspace, "reluformer+penalty=null")
    assert run.model.cross_attention.penalty is None and gammas(run) == [4, 4, 4]
    assert run.tuned.changes == {"learning_rate": 0.002, "gamma": 4}


def test_a_change_of_one_place_leaves_the_others_to_the_choice(workspace):
    assert gammas(tuned(workspace, "reluformer+cross_attention.gamma=1")) == [4, 4, 1]
    run = tuned(workspace, "reluformer+cross_attention.activation=softmax")
    assert gammas(run) == [4, 4, None] and run.model.cross_attention.activation == "softmax"


def test_keys_that_the_changes_removed_are_skipped(workspace):
    run = tuned(workspace, "reluformer+activation=softmax+penalty=null")
    assert gammas(run) == [None, None, None] and run.tuned.changes == {"learning_rate": 0.002}


def test_a_choice_for_another_system_is_refused(workspace):
    with pytest.raises(SettingsError, match=r"run pairs/transformer: choice of choice.json: gamma"):
        tuned(workspace, "transformer")


def test_a_configuration_with_a_choice_is_saved_and_read(workspace, tmp_path):
    run = tuned(workspace, "reluformer")
    run.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path) == run


def test_the_file_of_a_search_is_read(workspace):
    search = workspace.experiment().tuning.search("pairs", "reluformer")
    path = workspace.results / search.path
    path.parent.mkdir(parents=True)
    chosen = workspace.train(search, lambda point: 10 * point["gamma"] * point["learning_rate"])
    path.write_text(json.dumps(chosen), encoding="utf-8")
    choice = read_choice(path)
    assert choice.changes == chosen["choice"]["changes"] and choice.source == str(path)
    assert choice.validation_bleu == chosen["choice"]["validation_bleu"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "choice.json: there is no such file; `snakemake --cores all .*choice.json` makes it"),
        ("[]", "choice.json: not a choice"),
        ('{"next": []}', "choice.json: not a choice"),
        ('{"next": ["a/b/seed9"], "choice": null}', "choice.json: the search has not ended: a/b/seed9"),
    ],
)
def test_another_file_is_a_one_line_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "choice.json").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        read_choice(tmp_path / "choice.json")


def test_where_every_run_diverged_nothing_changes(workspace, tmp_path):
    (tmp_path / "choice.json").write_text('{"next": [], "choice": null}', encoding="utf-8")
    resolved = workspace.experiment().resolve(Run("pairs", "reluformer", 1))
    run = apply_choice(resolved, read_choice(tmp_path / "choice.json"))
    assert run.parts() == resolved.parts() and run.tuned.changes == {}


def test_the_run_that_a_training_starts_from_stays_resolved(workspace):
    start = {"dataset": "papers@within-*", "training": {"start_from": "{dataset}@sentences/transformer/seed{seed}"}}
    resolved = workspace.experiment(overrides=[start]).resolve(Run("papers@within-64", "reluformer", 1))
    assert resolved.training.start_from == "papers@sentences/transformer/seed1"
    run = apply_choice(resolved, CHOICE)
    assert run.training.start_from == resolved.training.start_from and run.training.learning_rate == 0.002
