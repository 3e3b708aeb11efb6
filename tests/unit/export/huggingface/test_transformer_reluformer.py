"""The exported model, a second implementation of ours, gives the same logits for every system of systems.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.systems import SystemConfig
from reluformer.export.huggingface import transformer_reluformer as exported
from reluformer.model.transformer import Transformer
from reluformer.ops.int8 import Int8
from reluformer.ops.linear import pack

ROOT = Path(__file__).parents[4]
SYSTEMS = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
SMALL = {"encoder_layers": 2, "decoder_layers": 2, "width": 16, "heads": 2, "slots": 24, "vocabulary": 40}
LAYERS = {"decoder.1.cross_attention": {"activation": "relu", "penalty": None}}
FORMS = [
    {"norm": "post", "share_embeddings": "decoder"},
    {"norm": "pre", "share_embeddings": "all", "ffn_bias": True, "attention_bias": False},
    {"norm": "pre", "share_embeddings": "none", "layers": LAYERS},
]


def both(config):
    """Returns our model and the exported one with the same random parameters, in double precision."""
    torch.manual_seed(1)
    ours = Transformer(config).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    memories = {place: config.memory(place).model_dump(mode="json") for place in config.places()}
    theirs = exported.Transformer(config.model_dump(mode="json"), memories).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours.double(), theirs.double()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["share_embeddings"])
@pytest.mark.parametrize("system", [*SYSTEMS, "reluformer with a learned gamma"])
@torch.no_grad()
def test_logits_are_those_of_the_run(system, form):
    content = SYSTEMS[system.partition(" ")[0]]
    memories = SystemConfig(**content).memories()
    if "learned" in system:
        for memory in memories.values():
            if memory.get("activation") == "relu-scaled":
                memory["options"] = {"gamma": "learned"}
    ours, theirs = both(ModelConfig.model_validate({**SMALL, **memories, **form}))
    src, tgt = torch.randint(5, 40, (3, 9)), torch.randint(5, 40, (3, 7))
    mask = torch.arange(9) < torch.tensor([[9], [5], [1]])
    source = ours.encode(src, mask)
    expected = ours.project(ours.decode(source, mask, tgt, torch.ones_like(tgt, dtype=torch.bool)))
    encoded = theirs.encode(src, mask)
    torch.testing.assert_close(encoded[mask], source[mask])
    torch.testing.assert_close(theirs.decode(encoded, mask, tgt), expected)
    torch.testing.assert_close(theirs.decode(encoded, mask, tgt)[:, :3], theirs.decode(encoded, mask, tgt[:, :3]))


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15", "relu", "relu-scaled"])
def test_a_row_without_a_real_slot_reads_nothing(name):
    activation = exported.Activation({"activation": name, "options": {}}, heads=1)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weights = activation(torch.ones(1, 1, 2, 3), mask)
    assert weights[..., 0, 1] == 0 and weights[..., 0, 0] > 0 and not weights[..., 1, :].any()


def test_softpick_of_large_scores_is_that_of_their_differences():
    softpick = exported.Activation({"activation": "softpick", "options": {}}, heads=1)
    weights = softpick(torch.tensor([[[[200.0, 200.0, -300.0], [3e4, 0.0, 1.0]]]]), None)
    torch.testing.assert_close(weights, torch.tensor([[[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]]]))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["share_embeddings"])
@torch.no_grad()
def test_quantised_it_gives_nearly_the_same_and_keeps_its_parameters(form):
    memories = SystemConfig(**SYSTEMS["reluformer"]).memories()
    ours, theirs = both(ModelConfig.model_validate({**SMALL, **memories, **form}))
    ours, theirs = ours.float(), theirs.float()
    src, mask = torch.randint(5, 40, (3, 9)), torch.arange(9) < torch.tensor([[9], [5], [1]])
    tgt = torch.randint(5, 40, (3, 7))
    exact = theirs.decode(theirs.encode(src, mask), mask, tgt)
    theirs.quantise()
    logits = theirs.decode(theirs.encode(src, mask), mask, tgt)
    assert not torch.equal(logits, exact)
    torch.testing.assert_close(logits, exact, rtol=0, atol=0.1 * float(exact.abs().max()))
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    pack(ours, Int8)
    own = ours.project(ours.decode(ours.encode(src, mask), mask, tgt, torch.ones_like(tgt, dtype=torch.bool)))
    torch.testing.assert_close(logits, own, rtol=0, atol=0.05 * float(exact.abs().max()))
