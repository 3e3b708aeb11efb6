from __future__ import annotations

import pytest
import torch

from reluformer.config.model import ModelConfig
from reluformer.config.settings import SettingsError
from reluformer.memory.mask import AttentionMask
from reluformer.model.transformer import Layer, Transformer, observe

CONFIG = {"width": 12, "heads": 2, "slots": 16, "encoder_layers": 2, "decoder_layers": 2}
TIGHT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_incremental_decoding_gives_the_logits_of_the_full_forward(make_model, sentences, system, norm):
    model = make_model(system, norm=norm)
    with torch.no_grad():
        full = model.project(model(*sentences.inputs))
        state = model.start(sentences.src, sentences.src_mask)
        steps = torch.stack([model.step(tokens, state) for tokens in sentences.tgt_in.unbind(1)], 1)
    torch.testing.assert_close(steps[sentences.tgt_mask], full[sentences.tgt_mask], **TIGHT)


def test_padding_changes_nothing(make_model, make_batch, system):
    model = make_model(system)
    plain, padded = make_batch(), make_batch()
    pad = torch.nn.functional.pad
    padded = type(plain)(*(pad(t, (0, 5)) for t in plain))
    with torch.no_grad():
        torch.testing.assert_close(
            model(*padded.inputs)[:, : plain.tgt_in.size(1)][plain.tgt_mask],
            model(*plain.inputs)[plain.tgt_mask],
            **TIGHT,
        )


def test_the_content_of_padding_changes_nothing(make_model, sentences, system):
    model = make_model(system)
    noisy = sentences._replace(
        src=torch.where(sentences.src_mask, sentences.src, 17),
        tgt_in=torch.where(sentences.tgt_mask, sentences.tgt_in, 9),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            model(*noisy.inputs)[sentences.tgt_mask], model(*sentences.inputs)[sentences.tgt_mask], **TIGHT
        )


def test_batch_order_and_batch_size_change_nothing(make_model, sentences, system):
    model = make_model(system)
    with torch.no_grad():
        together = model(*sentences.inputs)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(model(*sentences.rows(order).inputs), together[order], **TIGHT)
        for i in range(3):
            s, t = sentences.src_mask[i].sum(), sentences.tgt_mask[i].sum()
            alone = model(*sentences.rows(slice(i, i + 1), s, t).inputs)
            torch.testing.assert_close(alone[0], together[i, :t], **TIGHT)


def test_a_token_does_not_depend_on_later_ones(make_model, sentences, system):
    model = make_model(system)
    changed = sentences.tgt_in.clone()
    changed[:, 3:] = 39
    with torch.no_grad():
        before = model(*sentences.inputs)
        after = model(sentences.src, sentences.src_mask, changed, sentences.tgt_mask)
    torch.testing.assert_close(after[:, :3], before[:, :3], **TIGHT)
    assert not torch.allclose(after[1, 4], before[1, 4])


def test_select_keeps_reorders_and_repeats_rows(make_model, sentences, system):
    """As in beam search: expands, takes two steps, reorders, and drops a finished sentence."""
    model = make_model(system)
    tokens = sentences.tgt_in
    with torch.no_grad():
        state = model.start(sentences.src, sentences.src_mask)
        state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
        assert len(state) == 6
        model.step(tokens[:, 0].repeat_interleave(2), state)
        model.step(torch.tensor([10, 11, 12, 13, 14, 15]), state)
        state.select(torch.tensor([5, 2, 2]))
        logits = model.step(torch.tensor([20, 21, 22]), state)
        chosen = torch.tensor([2, 1, 1])
        history = torch.tensor([[2, 15, 20], [2, 12, 21], [2, 12, 22]])
        full = model.project(
            model(sentences.src[chosen], sentences.src_mask[chosen], history, torch.ones(3, 3, dtype=torch.bool))
        )
    torch.testing.assert_close(logits, full[:, -1], **TIGHT)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_checkpointed_activations_give_identical_gradients(make_model, sentences, system, norm):
    def gradients(recompute):
        model = make_model(system, norm=norm, dropout=0.2, attention_dropout=0.1).train()
        model.checkpoint_activations = recompute
        torch.manual_seed(0)
        hidden, penalty = model.forward_with_penalty(*sentences.inputs)
        (hidden[sentences.tgt_mask].square().sum() + penalty).backward()
        return penalty, {name: p.grad for name, p in model.named_parameters()}

    (plain_penalty, plain), (penalty, recomputed) = gradients(False), gradients(True)
    assert torch.equal(plain_penalty, penalty)
    for name, gradient in plain.items():
        assert (gradient is None) == (recomputed[name] is None), name
        assert gradient is None or torch.equal(gradient, recomputed[name]), name


def test_attention_dropout_acts_in_every_system_and_in_training_alone(make_model, sentences, system):
    model = make_model(system, dropout=0.0, attention_dropout=0.5)
    with torch.no_grad():
        outputs = {}
        for training in (True, False):
            model.train(training)
            outputs[training] = [model(*sentences.inputs) for _ in range(2)]
    assert torch.equal(*outputs[False]) and not torch.allclose(*outputs[True])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_penalty_is_lambda_times_equation_7_averaged_or_summed_over_all_memories(make_model, sentences, reduction):
    model = make_model("reluformer", penalty_reduction=reduction)
    penalties = []
    for place in model.places():
        if place.memory.penalty is not None:
            place.memory.register_forward_hook(lambda m, i, out: penalties.append(out.penalty))
    _, penalty = model.forward_with_penalty(*sentences.inputs)
    assert len(penalties) == 6
    torch.testing.assert_close(penalty, sum(penalties) / (len(penalties) if reduction == "mean" else 1))
    assert make_model("transformer").forward_with_penalty(*sentences.inputs)[1] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_forward_and_backward_are_finite(make_model, sentences, system, dtype):
    model = make_model(system).to(dtype)
    hidden, penalty = model.forward_with_penalty(*sentences.inputs)
    assert hidden.dtype == dtype
    (hidden[sentences.tgt_mask].float().square().mean() + penalty).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_any_activation_in_any_place(make_model, sentences):
    """Scaled ReLU in the encoder, sparsemax in one FFN, entmax in one cross-attention, and ReLA's norm in another."""
    model = make_model(
        "transformer",
        encoder_attention={"activation": "relu-scaled", "options": {"gamma": "learned"}},
        layers={
            "encoder.1.ffn": {"activation": "sparsemax", "output_norm": "layernorm"},
            "decoder.0.cross_attention": {"activation": "entmax15"},
            "decoder.1.*attention": {"activation": "relu", "output_norm": "gated-rmsnorm"},
        },
    )
    names = {p.place: type(p.memory.activation).__name__ for p in model.places()}
    assert names == {
        "encoder.0.attention": "ScaledReLU",
        "encoder.0.ffn": "ReLU",
        "encoder.1.attention": "ScaledReLU",
        "encoder.1.ffn": "Sparsemax",
        "decoder.0.attention": "Softmax",
        "decoder.0.cross_attention": "Entmax15",
        "decoder.0.ffn": "ReLU",
        "decoder.1.attention": "ReLU",
        "decoder.1.cross_attention": "ReLU",
        "decoder.1.ffn": "ReLU",
    }
    model(*sentences.inputs).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_sequences_longer_than_any_table(make_model, make_batch):
    model = make_model("reluformer")
    long = make_batch((700, 3), (3, 600))
    with torch.no_grad():
        assert model(*long.inputs).isfinite().all()


def test_vocabulary_must_be_known():
    with pytest.raises(SettingsError, match="vocabulary"):
        Transformer(ModelConfig())


def test_the_norm_is_after_the_sum_or_before_the_memory():
    x = torch.randn(2, 5, 12)
    for norm in ("post", "pre"):
        layer = Layer(ModelConfig(norm=norm, **CONFIG), "encoder", 0).eval()
        ffn = layer.ffn
        torch.nn.init.normal_(ffn.norm.weight)
        out, _ = ffn(x, None, False)
        expected = ffn.norm(x + ffn.memory(x).output) if norm == "post" else x + ffn.memory(ffn.norm(x)).output
        torch.testing.assert_close(out, expected)


def test_dropout_applies_only_to_the_output():
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
    from_source, _ = layer(x, visible[0], source, visible[1])
    from_slots, _ = layer(x, visible[0], layer.source_slots(source), visible[1])
    assert torch.equal(from_source, from_slots)


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
    observed = reads(model, sentences)
    assert list(observed) == model.config.places() == [place.place for place in model.places()]
    src, tgt = sentences.src.shape, sentences.tgt_in.shape
    for place, read in observed.items():
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
    observed = reads(model, sentences)
    first, second = observed["encoder.0.attention"], observed["encoder.0.ffn"]
    total = first.residual + first.output
    torch.testing.assert_close(second.residual, total if norm == "pre" else model.encoder[0].attention.norm(total))


def test_weights_read_the_values(make_model, sentences, system):
    observed = reads(make_model(system), sentences)
    ffn = observed["decoder.0.ffn"]
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


def test_observation_ends_and_nests(make_model, sentences):
    model, outer, inner = make_model("transformer"), [], []
    with observe(model, lambda *a: outer.append(a)):
        with pytest.raises(RuntimeError), observe(model, lambda *a: inner.append(a)):
            model(*sentences.inputs)
            raise RuntimeError
        assert (len(outer), len(inner)) == (0, 10)
        model(*sentences.inputs)
    model(*sentences.inputs)
    assert (len(outer), len(inner)) == (10, 10)


def test_each_read_is_observed_once_with_checkpointed_activations(make_model, sentences):
    model = make_model("transformer")
    model.checkpoint_activations = True
    places = []
    with observe(model, lambda place, read: places.append(place)):
        model(*sentences.inputs).sum().backward()
    assert len(places) == 10
