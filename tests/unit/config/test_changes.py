"""Changes in a system's name: the keys they set, their canonical spelling, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.config.changes import join_system, split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """An experiment with the datasets of the paper and of the demo, and the project's systems."""
    datasets = {"sentences": "iwslt14", "documents": "europarl7", "toy": "demo-sentences"}
    return Experiment({"title": "t", "datasets": datasets, "only": ["ffn-activation"]}, ROOT / "config")


def resolve(experiment: Experiment, system: str, dataset: str = "iwslt14"):
    return experiment.resolve(Run(dataset, experiment.canonical(dataset, system), 1))


def test_a_name_is_split_and_joined():
    name = "reluformer+gamma=learned+slots=32+penalty.entropy=false+training.clip_norm=0.5"
    base, changes = split_system(name)
    assert (base, changes["gamma"], changes["slots"], changes["penalty.entropy"]) == (
        "reluformer",
        "learned",
        32,
        False,
    )
    assert join_system(base, changes) == name
    assert split_system("transformer+learning_rate=1e-3").changes == {"learning_rate": 0.001}
    assert split_system("reluformer+penalty=null").changes == {"penalty": None}


def places(run) -> list:
    return [getattr(run.model, f"{side}_attention") for side in ("encoder", "decoder", "cross")]


@pytest.mark.parametrize(
    ("system", "read", "value"),
    [
        ("reluformer+penalty.weight=0.3", lambda run: [m.penalty.weight for m in places(run)], [0.3] * 3),
        (
            "reluformer+cross_attention.penalty.weight=0.7",
            lambda run: [m.penalty.weight for m in places(run)][2],
            0.7,
        ),
        ("reluformer+penalty=null", lambda run: [m.penalty for m in places(run)], [None] * 3),
        ("reluformer+decoder_attention.gamma=8", lambda run: [m.options["gamma"] for m in places(run)][1], 8.0),
        ("attention-relu-scaled+penalty.margin=0.5", lambda run: [m.penalty.margin for m in places(run)], [0.5] * 3),
        (
            "transformer+encoder_attention.activation=relu-scaled+gamma=4",
            lambda run: [m.options for m in places(run)],
            [{"gamma": 4.0}, {}, {}],
        ),
        ("reluformer+activation=softmax", lambda run: [m.options for m in places(run)], [{}] * 3),
        ("ffn-softmax+ffn.temperature=2", lambda run: run.model.ffn.options, {"temperature": 2.0}),
        ("ffn-softmax+ffn.output_norm=layernorm", lambda run: run.model.ffn.output_norm, "layernorm"),
        ("transformer+learning_rate=1e-3", lambda run: run.training.learning_rate, 0.001),
        ("transformer+training.warmup=7", lambda run: run.training.warmup, 7),
        ("transformer+translation.beam=1", lambda run: run.translation.beam, 1),
        ("transformer+model.dropout=0", lambda run: run.model.dropout, 0.0),
        ("transformer+attention_dropout=0.1", lambda run: run.model.attention_dropout, 0.1),
    ],
)
def test_a_dotted_key_reaches_any_key_of_a_run(experiment, system, read, value):
    assert read(resolve(experiment, system)) == value


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("transformer+training.learning_rate=0.001", "transformer+learning_rate=0.001"),
        ("transformer+learning_rate=1e-3", "transformer+learning_rate=0.001"),
        ("transformer+warmup=8+clip_norm=1.0", "transformer+clip_norm=1+warmup=8"),
        ("transformer+learning_rate=5e-4", "transformer"),
        ("transformer+model.slots=2048", "transformer+slots=2048"),
        ("reluformer+attention.penalty.weight=0.5", "reluformer+penalty.weight=0.5"),
        ("reluformer+options.gamma=7.0", "reluformer+gamma=7"),
        ("reluformer+model.cross_attention.options.gamma=7", "reluformer+cross_attention.gamma=7"),
        (
            "reluformer+encoder_attention.gamma=7+cross_attention.gamma=7+decoder_attention.gamma=7",
            "reluformer+gamma=7",
        ),
        ("reluformer+penalty.normalisation=true", "reluformer"),
        ("transformer+translation.beam=4.0", "transformer+translation.beam=4"),
        ("rela+activation=relu", "rela"),
        ("reluformer+gamma=7+encoder_attention.gamma=7", "reluformer+gamma=7"),
    ],
)
def test_two_spellings_of_one_run_are_one_run(experiment, spelled, canonical):
    assert experiment.canonical("iwslt14", spelled) == canonical
    assert experiment.canonical("iwslt14", canonical) == canonical
    assert resolve(experiment, spelled) == resolve(experiment, canonical)


def test_a_run_has_one_canonical_name(experiment):
    with pytest.raises(SettingsError, match=r"named iwslt14/reluformer\+gamma=7/seed1"):
        experiment.resolve(Run("iwslt14", "reluformer+options.gamma=7.0", 1))


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("reluformer+ffn.after=layernorm", "ffn.after: this key is now output_norm"),
        ("reluformer+gama=1", "gama: unknown key; did you mean 'gamma'?"),
        ("reluformer+penalty.wait=1", "penalty.wait: unknown key; did you mean 'weight'?"),
        ("reluformer+training.learnin_rate=1", "unknown key; did you mean 'learning_rate'?"),
        ("reluformer+penalty.weight=-1", "penalty.weight: -1: input should be greater than or equal to 0"),
        ("reluformer+gamma=none", "option gamma"),
        ("reluformer+recipe=swep", "recipe: 'swep': unknown recipe; did you mean 'sweep'?"),
        ("reluformer+gamma", "'gamma': a change is written +key=value"),
        ("reluformer+gamma=1+gamma=2", "gamma is changed twice"),
        ("reluformr+gamma=1", "unknown system; did you mean 'reluformer'?"),
        ("transformer+gamma=1", "gamma: no attention of this system has it"),
    ],
)
def test_a_mistake_in_a_change_is_a_one_line_error(experiment, system, message):
    with pytest.raises(SettingsError) as caught:
        experiment.canonical("demo-sentences" if "recipe" in system else "iwslt14", system)
    assert message in str(caught.value) and "\n" not in str(caught.value)
