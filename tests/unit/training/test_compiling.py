"""The compiled forward pass is one graph for all shapes, and computes what the plain one does.

On a CPU, by the paths that a GPU takes, without generating code: what breaks a graph is found all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.settings import merge
from reluformer.config.systems import SystemConfig
from reluformer.memory import modules as memories
from reluformer.model.transformer import Transformer
from reluformer.ops import dropout, heads, linear
from reluformer.training.compiling import compile_forward

SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))
SMALL = {"encoder_layers": 2, "decoder_layers": 1, "width": 24, "heads": 3, "slots": 32, "vocabulary": 40}
SHAPES = [((7, 3, 5, 2), (4, 6, 2, 9)), ((8, 3, 5, 4, 10), (4, 6, 2, 7, 12)), ((9, 8, 4), (3, 9, 9))]
MIXED = {
    "encoder.0.attention": {"activation": "entmax15"},
    "encoder.1.attention": {"activation": "sparsemax"},
    "decoder.0.attention": {"options": {"gamma": "learned"}},
    "decoder.0.cross_attention": {"activation": "softmax"},
}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setenv("RELUFORMER_KERNEL", "reference")
    monkeypatch.setattr(dropout, "can_drop", lambda x, added: False)
    monkeypatch.setattr(dropout, "_in_torch", torch.nn.functional.dropout)
    monkeypatch.setattr(memories, "split_heads", heads._views)
    for module in (memories, linear):
        monkeypatch.setattr(module, "worthwhile", lambda x, weight: False)
    torch._dynamo.reset()


def build(system, **changes):
    memory = SystemConfig(**SYSTEMS[system]).memories()
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**merge(merge(SMALL, memory), changes))).train()
    model.embeddings.positions(20)
    return model


def batch(src_lengths, tgt_lengths):
    sides = []
    for lengths in (src_lengths, tgt_lengths):
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        sides += [torch.randint(5, 40, mask.shape) * mask, mask]
    return sides


def learned(model, given):
    """Hidden states, penalty and all gradients."""
    torch.manual_seed(len(given[0]))  # dropout's
    hidden, penalty = model.forward_with_penalty(*given)
    gradients = torch.autograd.grad(hidden.square().sum() + penalty, list(model.parameters()), allow_unused=True)
    return [hidden, penalty, *gradients]


@pytest.mark.slow
def test_one_graph_for_all_shapes():
    changes = {"norm": "pre", "dropout": 0.1, "attention_dropout": 0.2, "layers": MIXED}
    plain, compiled = build("reluformer", **changes), build("reluformer", **changes)
    compile_forward(compiled, fullgraph=True, backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch._dynamo.utils.counters.clear()
    for shape in SHAPES:
        given = batch(*shape)
        torch.testing.assert_close(learned(compiled, given), learned(plain, given), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    with torch.no_grad():  # a validation compiles nothing
        for one, other in zip(*(model.eval().forward_with_penalty(*given) for model in (compiled, plain)), strict=True):
            assert torch.equal(one, other)
