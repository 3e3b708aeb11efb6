"""Every system of the configuration computes, learns and translates the same with every kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.config.translation import TranslationConfig
from reluformer.memory.backends.cpu import SOURCE
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.ops.paths import library
from reluformer.translation.decode import translate

SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))
UNFUSED = {"softpick", "softplus", "softmax-scalable", "entmax"}
BACKENDS = ["tiled", *(["cpu"] if library(SOURCE) else [])]
SHAPE = {"encoder_layers": 1, "decoder_layers": 1, "width": 32, "heads": 2, "slots": 64, "vocabulary": 50, "dropout": 0}


def learnt(name):
    """Returns loss, penalty, gradients and translations of a small model on one ragged batch."""
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**SHAPE, **SystemConfig(**SYSTEMS[name]).memories()))
    src, tgt = torch.randint(5, 50, (3, 19)), torch.randint(5, 50, (3, 13))
    src_mask = torch.arange(19)[None] < torch.tensor([[19], [4], [11]])
    tgt_mask = torch.arange(13)[None] < torch.tensor([[6], [13], [12]])
    losses = Objective(model, 0.1)(src, src_mask, tgt, tgt.roll(-1, 1), tgt_mask)
    (losses.loss_sum + losses.penalty * losses.tokens).backward()
    sources = [np.arange(5, 5 + n) for n in (3, 12, 7)]
    hypotheses = translate(model.eval(), sources, TranslationConfig(beam=3, batch_tokens=100))
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, [hypothesis.tokens.tolist() for hypothesis in hypotheses]


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name not in UNFUSED])
def test_all_systems_with_all_kernels(name, monkeypatch):
    monkeypatch.setenv("RELUFORMER_KERNEL", "reference")
    losses, gradients, translations = learnt(name)
    assert any(translations)
    for backend in BACKENDS:
        monkeypatch.setenv("RELUFORMER_KERNEL", backend)
        other_losses, other_gradients, other_translations = learnt(name)
        torch.testing.assert_close(other_losses[:3], losses[:3], rtol=1e-5, atol=1e-5)
        assert other_gradients.keys() == gradients.keys()
        for key, gradient in gradients.items():
            assert (other_gradients[key] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-4, key
        assert other_translations == translations
