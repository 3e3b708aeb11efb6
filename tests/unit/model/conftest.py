"""Small models of every system in config/systems.yaml, and a ragged batch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.settings import merge
from reluformer.config.systems import SystemConfig
from reluformer.model.transformer import Transformer

VOCABULARY = 40
SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))
SMALL = {"encoder_layers": 2, "decoder_layers": 2, "width": 24, "heads": 3, "slots": 32, "vocabulary": VOCABULARY}


class Sentences(NamedTuple):
    """A padded batch: src [B, S], tgt_in and tgt_out [B, T]; masks are true for real tokens."""

    src: torch.Tensor
    src_mask: torch.Tensor
    tgt_in: torch.Tensor
    tgt_out: torch.Tensor
    tgt_mask: torch.Tensor

    @property
    def inputs(self):
        return self.src, self.src_mask, self.tgt_in, self.tgt_mask

    def rows(self, rows, src_length=None, tgt_length=None):
        """Selects sentences and cuts padding beyond the lengths."""
        return Sentences(*(t[rows, :n] for t, n in zip(self, [src_length] * 2 + [tgt_length] * 3, strict=True)))


def batch(src_lengths=(7, 3, 5), tgt_lengths=(4, 6, 2), extra=0):
    """Returns random sentences of these lengths with `extra` columns of padding."""
    generator = torch.Generator().manual_seed(3)

    def padded(lengths):
        tokens = torch.randint(5, VOCABULARY, (len(lengths), max(lengths) + extra), generator=generator)
        mask = torch.arange(tokens.size(1))[None] < torch.tensor(lengths)[:, None]
        return tokens * mask, mask

    (src, src_mask), (tgt_out, tgt_mask) = padded(src_lengths), padded(tgt_lengths)
    tgt_in = torch.cat([torch.full((len(tgt_lengths), 1), 2), tgt_out[:, :-1]], 1) * tgt_mask
    return Sentences(src, src_mask, tgt_in, tgt_out, tgt_mask)


def build(system, **changes):
    """Builds a small model of a system with every parameter perturbed, in evaluation mode."""
    memories = SystemConfig(**SYSTEMS[system]).memories()
    torch.manual_seed(11)
    model = Transformer(ModelConfig(**merge(merge(SMALL, memories), changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model.eval()


@pytest.fixture
def make_model():
    """`make_model(system, **changes)`."""
    return build


@pytest.fixture
def make_batch():
    """`make_batch(src_lengths, tgt_lengths, extra)`."""
    return batch


@pytest.fixture
def sentences():
    """Three ragged sentences with different source and target lengths."""
    return batch()


@pytest.fixture(params=[name for name in SYSTEMS if name == "reluformer-cross" or "reluformer-" not in name])
def system(request):
    """Every system, but only one of those with ReLU in some attentions."""
    return request.param
