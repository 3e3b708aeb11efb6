from __future__ import annotations

import pytest
import torch

from reluformer.config.model import ModelConfig
from reluformer.config.settings import SettingsError
from reluformer.model.transformer import Transformer

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


def test_what_stands_in_the_padding_changes_nothing(make_model, sentences, system):
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
    """As a beam does: expand, take two steps, reorder, drop a finished sentence."""
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
def test_penalty_is_lambda_times_equation_7_meaned_or_summed_over_all_memories(make_model, sentences, reduction):
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
    """Scaled ReLU in the encoder alone, sparsemax in one FFN, entmax in one cross-attention, ReLA's norm in another."""
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
