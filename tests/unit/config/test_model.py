from __future__ import annotations

import pytest

from reluformer.config.model import ModelConfig, kind_of
from reluformer.config.settings import SettingsError, parse
from reluformer.model.transformer import Transformer


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"width": 510}, "heads: 4: does not divide the width 510"),
        ({"heads": 3}, "heads: 3: does not divide the width 512"),
        ({"layers": {"encoder.6.ffn": {}}}, "no place is called 'encoder.6.ffn'; did you mean 'encoder."),
        ({"layers": {"decoder.*.cross": {}}}, "no place is called"),
        (
            {"layers": {"encoder.*.ffn": {"activation": "relo"}}},
            "encoder.*.ffn: activation: 'relo': unknown activation",
        ),
        ({"layers": {"encoder.*.ffn": {"aktivation": "relu"}}}, "encoder.*.ffn: aktivation: unknown key"),
        ({"layers": {"encoder.*.ffn": {"options": {"gamma": 1}}}}, "encoder.*.ffn: options: relu has no"),
        ({"layers": {"encoder.*.ffn": 3}}, "valid dictionary"),
        ({"norm": "middle"}, "'post' or 'pre'"),
        ({"wdith": 3}, "did you mean 'width'"),
    ],
)
def test_mistakes_are_one_clear_line(data, message):
    with pytest.raises(SettingsError) as error:
        parse(ModelConfig, data, "run x: model")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_mistake_elsewhere_is_reported_separately():
    with pytest.raises(SettingsError, match="encoder_layers"):
        parse(ModelConfig, {"encoder_layers": 0, "layers": {"encoder.0.ffn": {}}}, "x")


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 8},
        {"norm": "pre"},
        {"ffn_bias": True},
        {"attention_bias": False},
        {"share_embeddings": "all"},
        {"decoder_layers": 2},
        {"cross_attention": {"activation": "relu-scaled", "options": {"gamma": "learned"}}},
        {"layers": {"encoder.0.ffn": {"output_norm": "layernorm"}}},
        {"dropout": 0.0},
        {"attention_dropout": 0.1},
        {"encoder_attention": {"activation": "relu-scaled", "options": {"gamma": 2}, "penalty": {"weight": 1}}},
    ],
)
def test_models_of_one_shape_have_the_same_parameters(change):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 8, "heads": 2, "slots": 4, "vocabulary": 9}
    base, changed = ModelConfig(**sizes), ModelConfig.model_validate(sizes | change)
    shapes = [
        {name: tensor.shape for name, tensor in Transformer(config).state_dict().items()} for config in (base, changed)
    ]
    assert (base.shape() == changed.shape()) == (shapes[0] == shapes[1])


def test_places():
    config = ModelConfig(encoder_layers=1, decoder_layers=2)
    assert config.places() == [
        "encoder.0.attention",
        "encoder.0.ffn",
        "decoder.0.attention",
        "decoder.0.cross_attention",
        "decoder.0.ffn",
        "decoder.1.attention",
        "decoder.1.cross_attention",
        "decoder.1.ffn",
    ]
    assert [kind_of(p) for p in config.places()[:5]] == [
        "encoder_attention",
        "ffn",
        "decoder_attention",
        "cross_attention",
        "ffn",
    ]


def test_changes_apply_to_their_kind_in_order():
    scaled = {"activation": "relu-scaled", "options": {"gamma": 2.0}, "penalty": {"weight": 0.1}}
    config = ModelConfig(
        encoder_attention=scaled,
        layers={
            "encoder.*.attention": {"penalty": {"margin": 0.5}},
            "encoder.1.attention": {"options": {"gamma": 4.0}, "penalty": None},
            "encoder.2.attention": {"activation": "softmax"},
        },
    )
    first, second, third = (config.memory(f"encoder.{i}.attention") for i in range(3))
    assert (first.options["gamma"], first.penalty.weight, first.penalty.margin) == (2.0, 0.1, 0.5)
    assert (second.options["gamma"], second.penalty) == (4.0, None)
    assert (third.activation, third.options) == ("softmax", {})
    assert config.memory("decoder.0.attention") == config.decoder_attention
