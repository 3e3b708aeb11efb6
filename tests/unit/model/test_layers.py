from __future__ import annotations

import pytest
import torch

from reluformer.config.model import ModelConfig
from reluformer.memory.mask import AttentionMask
from reluformer.model.layers import Layer, observe

CONFIG = {"width": 12, "heads": 2, "slots": 16, "encoder_layers": 2, "decoder_layers": 2}


def test_norm_stands_after_the_sum_or_before_the_memory():
    x = torch.randn(2, 5, 12)
    for norm in ("post", "pre"):
        layer = Layer(ModelConfig(norm=norm, **CONFIG), "encoder", 0).eval()
        ffn = layer.ffn
        torch.nn.init.normal_(ffn.norm.weight)
        out, _ = ffn(x, None, False)
        expected = ffn.norm(x + ffn.memory(x).output) if norm == "post" else x + ffn.memory(ffn.norm(x)).output
        torch.testing.assert_close(out, expected)


def test_dropout_is_on_the_output_alone():
    layer = Layer(ModelConfig(norm="pre", dropout=0.5, **CONFIG), "encoder", 0).train()
    x = torch.randn(2, 200, 12)
    added = layer.ffn(x, None, False)[0] - x
    exact = layer.ffn.memory(layer.ffn.norm(x)).output
    kept = added != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(added[kept], 2 * exact[kept], atol=1e-4, rtol=1e-4)


def test_decoder_layer_takes_the_source_or_its_slots():
    layer = Layer(ModelConfig(**CONFIG), "decoder", 1).eval()
    x, source = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    visible = AttentionMask(5, causal=True), AttentionMask(4)
    one, _ = layer(x, visible[0], source, visible[1])
    other, _ = layer(x, visible[0], layer.source_slots(source), visible[1])
    assert torch.equal(one, other)


def test_each_place_reads_its_own_configuration():
    config = ModelConfig(layers={"decoder.1.cross_attention": {"activation": "sparsemax"}}, **CONFIG)
    kinds = [type(Layer(config, "decoder", i).cross_attention.memory.activation).__name__ for i in range(2)]
    assert kinds == ["Softmax", "Sparsemax"]


def reads(model, sentences):
    seen = {}
    with observe(model, lambda place, read: seen.setdefault(place, read)):
        model(*sentences.inputs)
    return seen


def test_every_place_in_order_and_its_shapes(make_model, sentences, system):
    model = make_model(system)
    seen = reads(model, sentences)
    assert list(seen) == model.config.places() == [place.place for place in model.places()]
    src, tgt = sentences.src.shape, sentences.tgt_in.shape
    for place, read in seen.items():
        queries = src if place.startswith("encoder") else tgt
        slots = tgt if place.startswith("decoder") and place.endswith(".attention") else src
        ffn = place.endswith("ffn")
        assert read.weights.shape == ((*queries, 32) if ffn else (3, 3, queries[1], slots[1]))
        assert read.output.shape == read.residual.shape == (*queries, 24)
        assert read.rows.shape == queries
        assert torch.broadcast_shapes(read.mask.shape, read.weights.shape) == read.weights.shape
        width = 24 if ffn else 8
        assert read.query.size(-1) == read.key.size(-1) == read.value.size(-1) == width


def test_hidden_slots_have_no_weight_and_the_mask_says_so(make_model, sentences, system):
    for place, read in reads(make_model(system), sentences).items():
        if place.endswith("ffn"):
            assert torch.equal(read.mask[:, :, 0], read.rows)
            continue
        mask = read.mask.expand_as(read.weights)
        assert not read.weights[read.rows[:, None, :, None].expand_as(mask) & ~mask].any()
        visible = read.mask[0, 0].sum(-1).tolist()
        if place == "decoder.1.attention":
            assert visible == [1, 2, 3, 4, 0, 0]
        if place == "decoder.1.cross_attention":
            assert visible == [7, 7, 7, 7, 0, 0]


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_output_is_what_is_added_to_the_residual(make_model, sentences, norm):
    model = make_model("reluformer", norm=norm)
    seen = reads(model, sentences)
    first, second = seen["encoder.0.attention"], seen["encoder.0.ffn"]
    total = first.residual + first.output
    torch.testing.assert_close(second.residual, total if norm == "pre" else model.encoder[0].attention.norm(total))


def test_weights_read_the_values(make_model, sentences, system):
    seen = reads(make_model(system), sentences)
    ffn = seen["decoder.0.ffn"]
    model_output = ffn.weights @ ffn.value
    if system != "ffn-softmax-layernorm":
        torch.testing.assert_close(ffn.output, model_output)


def test_gradients_reach_what_was_observed(make_model, sentences):
    model = make_model("reluformer")
    kept = []

    def keep(place, read):
        read.weights.retain_grad()
        kept.append(read.weights)

    with observe(model, keep):
        model(*sentences.inputs).sum().backward()
    assert len(kept) == 10 and all(w.grad is not None for w in kept)


def test_decoding_is_observed_too(make_model, sentences):
    model = make_model("reluformer")
    lengths = []
    with torch.no_grad():
        state = model.start(sentences.src, sentences.src_mask)
        with observe(model, lambda place, read: lengths.append((place, read.weights.size(-1), read.key))):
            for i in range(3):
                model.step(sentences.tgt_in[:, i], state)
    keys = [(n, key) for place, n, key in lengths if place == "decoder.0.attention"]
    assert [n for n, _ in keys] == [key.size(-2) for _, key in keys] == [1, 2, 3]
    assert torch.equal(keys[2][1][..., :2, :], keys[1][1])


def test_it_ends_and_it_nests(make_model, sentences):
    model, outer, inner = make_model("transformer"), [], []
    with observe(model, lambda *a: outer.append(a)):
        with pytest.raises(RuntimeError), observe(model, lambda *a: inner.append(a)):
            model(*sentences.inputs)
            raise RuntimeError
        assert (len(outer), len(inner)) == (0, 10)
        model(*sentences.inputs)
    model(*sentences.inputs)
    assert (len(outer), len(inner)) == (10, 10)


def test_each_read_is_seen_once_while_activations_are_checkpointed(make_model, sentences):
    model = make_model("transformer")
    model.checkpoint_activations = True
    seen = []
    with observe(model, lambda place, read: seen.append(place)):
        model(*sentences.inputs).sum().backward()
    assert len(seen) == 10
