from __future__ import annotations

import torch

from reluformer.config.model import ModelConfig
from reluformer.memory.mask import AttentionMask
from reluformer.model.layers import DecoderLayer, EncoderLayer

CONFIG = {"width": 12, "heads": 2, "slots": 16, "encoder_layers": 2, "decoder_layers": 2}


def test_norm_stands_after_the_sum_or_before_the_memory():
    x = torch.randn(2, 5, 12)
    for norm in ("post", "pre"):
        layer = EncoderLayer(ModelConfig(norm=norm, **CONFIG), 0).eval()
        ffn = layer.ffn
        torch.nn.init.normal_(ffn.norm.weight)
        out, _ = ffn(x, None, False)
        expected = ffn.norm(x + ffn.memory(x).output) if norm == "post" else x + ffn.memory(ffn.norm(x)).output
        torch.testing.assert_close(out, expected)


def test_dropout_is_on_the_output_alone():
    layer = EncoderLayer(ModelConfig(norm="pre", dropout=0.5, **CONFIG), 0).train()
    x = torch.randn(2, 200, 12)
    added = layer.ffn(x, None, False)[0] - x
    exact = layer.ffn.memory(layer.ffn.norm(x)).output
    kept = added != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(added[kept], 2 * exact[kept], atol=1e-4, rtol=1e-4)


def test_decoder_layer_takes_the_source_or_its_slots():
    layer = DecoderLayer(ModelConfig(**CONFIG), 1).eval()
    x, source = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    visible = AttentionMask(5, causal=True), AttentionMask(4)
    one, _ = layer(x, visible[0], source, visible[1])
    other, _ = layer(x, visible[0], layer.source_slots(source), visible[1])
    assert torch.equal(one, other)


def test_each_place_reads_its_own_configuration():
    config = ModelConfig(layers={"decoder.1.cross_attention": {"activation": "sparsemax"}}, **CONFIG)
    kinds = [type(DecoderLayer(config, i).cross_attention.memory.activation).__name__ for i in range(2)]
    assert kinds == ["Softmax", "Sparsemax"]
