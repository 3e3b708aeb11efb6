"""The YAML files: a system's memories, and the keys that define a corpus."""

from __future__ import annotations

from reluformer.config.dataset import DatasetConfig
from reluformer.config.systems import SystemConfig

CORPUS = {
    "reader": "lines",
    "archives": [{"name": "text.de"}, {"name": "text.en"}],
    "held_out": {"valid": 0.1, "test": 0.1},
    "files": {"train": {"src": "text.de", "tgt": "text.en"}},
}


def test_a_system_states_its_differences_from_the_transformer():
    plain = SystemConfig(title="t").memories()
    assert plain["ffn"] == {"activation": "relu"} and plain["cross_attention"] == {}
    system = SystemConfig(
        title="t",
        ffn={"output_norm": "layernorm"},
        attention={"activation": "relu-scaled", "options": {"gamma": 2}},
        cross_attention={"options": {"gamma": 4}},
    )
    settings = system.memories()
    assert settings["ffn"] == {"activation": "relu", "output_norm": "layernorm"}
    assert settings["encoder_attention"] == settings["decoder_attention"] == system.attention
    assert settings["cross_attention"] == {"activation": "relu-scaled", "options": {"gamma": 4}}


def test_a_recipe_does_not_change_the_corpus():
    plain = DatasetConfig(title="t", src="de", tgt="en", corpus=CORPUS)
    changed = DatasetConfig(title="other", src="de", tgt="en", corpus=CORPUS, training={"updates": 5})
    assert plain.preparation() == changed.preparation()
    assert plain.preparation() != DatasetConfig(title="t", src="en", tgt="de", corpus=CORPUS).preparation()
