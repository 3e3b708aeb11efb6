"""Adding an activation takes one class and one line of the registry."""

from __future__ import annotations

import pytest
import torch

from reluformer.config.memory import ACTIVATIONS, Activation, MemoryConfig
from reluformer.memory import activations
from reluformer.memory.activations import Activation as ActivationBase
from reluformer.model.objective import Objective
from reluformer.model.transformer import observe


class SquareReLU(ActivationBase):
    """weights_ij = max(s_ij, 0)² (So et al. 2021)."""

    def forward(self, scores):
        return scores.relu_().square()


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(activations, "SquareReLU", SquareReLU, raising=False)
    monkeypatch.setitem(ACTIVATIONS, "relu-squared", Activation("reluformer.memory.activations:SquareReLU", {}))


def test_a_new_activation_works_in_configuration_training_decoding_and_observation(make_model, sentences):
    memory = {"activation": "relu-squared", "penalty": {"weight": 0.1}}
    kinds = ("ffn", "encoder_attention", "decoder_attention", "cross_attention")
    model = make_model("transformer", **dict.fromkeys(kinds, memory)).train()
    losses = Objective(model, 0.1)(*sentences)
    (losses.loss_sum / losses.tokens + losses.penalty).backward()
    assert losses.penalty > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    reads = {}
    with torch.no_grad():
        with observe(model, reads.setdefault):
            full = model.project(model(*sentences.inputs))
        state = model.start(sentences.src, sentences.src_mask)
        steps = torch.stack([model.step(tokens, state) for tokens in sentences.tgt_in.unbind(1)], 1)
    torch.testing.assert_close(steps[sentences.tgt_mask], full[sentences.tgt_mask], atol=1e-5, rtol=1e-5)
    ffn = reads["encoder.0.ffn"]
    torch.testing.assert_close(ffn.weights, (ffn.query @ ffn.key.T).relu() ** 2)


def test_the_options_of_a_new_activation_are_checked():
    with pytest.raises(ValueError, match="relu-squared has no option 'gamma'"):
        MemoryConfig(activation="relu-squared", options={"gamma": 1})
