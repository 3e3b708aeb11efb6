from __future__ import annotations

import pytest

from reluformer.config.memory import ACTIVATIONS, MemoryConfig
from reluformer.config.settings import SettingsError, parse
from reluformer.memory.activations import Activation, build_activation


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"activation": "sofmax"}, "did you mean 'softmax'"),
        ({"activation": "relu", "options": {"gamma": 1}}, "relu has no option 'gamma'"),
        ({"activation": "relu-scaled", "options": {"gama": 1}}, "did you mean 'gamma'"),
        ({"activation": "relu-scaled", "options": {"gamma": 0}}, "greater than 0"),
        ({"activation": "relu-scaled", "options": {"gamma": "learnt"}}, "'learned'"),
        ({"activation": "softmax", "options": {"temperature": -1}}, "greater than 0"),
        ({"output_norm": "layer-norm"}, "'layernorm'"),
        ({"penalty": {"wieght": 1}}, "did you mean 'weight'"),
        ({"penalty": {"weight": -1}}, "greater than or equal to 0"),
    ],
)
def test_mistakes_are_one_clear_line(data, message):
    with pytest.raises(SettingsError) as error:
        parse(MemoryConfig, data, "systems.yaml: x: ffn")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_options_are_read_as_their_type():
    assert MemoryConfig(activation="relu-scaled", options={"gamma": "0.5"}).options == {"gamma": 0.5}
    assert MemoryConfig(activation="relu-scaled", options={"gamma": "learned"}).options == {"gamma": "learned"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_entry_of_the_registry_names_an_activation(name):
    assert isinstance(build_activation(MemoryConfig(activation=name), heads=2), Activation)


def test_the_former_name_of_a_key_is_answered_with_the_new_one():
    with pytest.raises(SettingsError, match=r"^here: after: this key is now output_norm$"):
        parse(MemoryConfig, {"after": "layernorm"}, "here")
