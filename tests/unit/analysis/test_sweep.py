from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from reluformer.analysis.sweep import mean_by_kind, on_device, sweep
from reluformer.config import memory as config
from reluformer.config.model import KINDS
from reluformer.corpus.batches import collate
from reluformer.memory import activations
from reluformer.memory.activations import Activation
from reluformer.model.transformer import observe

PUNCTUATION = np.arange(40) % 7 == 6


def flat(result, path=()):
    """Returns every number of a result by its path."""
    if isinstance(result, dict):
        return {key: value for name, item in result.items() for key, value in flat(item, (*path, name)).items()}
    if isinstance(result, list):
        return {key: value for i, item in enumerate(result) for key, value in flat(item, (*path, i)).items()}
    return {path: result}


@pytest.mark.parametrize(
    "memory",
    [{"activation": name} for name in ("relu-scaled", "softmax", "sparsemax", "entmax15")]
    + [{"activation": "relu", "output_norm": "gated-rmsnorm"}, {"activation": "softmax", "output_norm": "layernorm"}],
)
def test_padding_and_batch_size_change_nothing(make_store, make_model, memory):
    model = make_model(encoder_attention=memory, decoder_attention=memory, cross_attention=memory)
    store = make_store()
    alone = flat(sweep(model, store, PUNCTUATION, padded_tokens=1, top_rows=1000))
    together = flat(sweep(model, store, PUNCTUATION, padded_tokens=1000, top_rows=1000))
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        assert together[key] == (
            value if value is None or isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-6)
        ), key


def test_measures_are_those_of_a_plain_loop(make_store, make_model):
    """Computes entropy, zeros, distance, commas and variances in loops over single sentences."""
    model, store = make_model(), make_store()
    place = "decoder.0.attention"
    measured = sweep(model, store, PUNCTUATION, padded_tokens=64, top_rows=1000)[place]
    entropies, zeros, distances, commas, outputs, residuals = [], [], [], [], [], []
    for i in range(len(store)):
        reads = {}
        batch = on_device(collate(store, [i]), torch.device("cpu"))
        with torch.no_grad(), observe(model, reads.__setitem__):
            model(batch.src, batch.src_mask, batch.tgt_in, batch.tgt_mask)
        read = reads[place]
        outputs.append(read.output[0])
        residuals.append(read.residual[0])
        for head in read.weights[0].tolist():
            for q, row in enumerate(head):
                visible = row[: q + 1]
                zeros.append(sum(w == 0 for w in visible) / (q + 1))
                if total := sum(visible):
                    p = [w / total for w in visible]
                    entropies.append(-sum(x * math.log(x) for x in p if x))
                    distances.append(sum(x * (q - k) for k, x in enumerate(p)))
                    commas.append(sum(x for k, x in enumerate(p) if PUNCTUATION[batch.tgt_in[0, k]]))
    for key, values in (
        ("entropy", entropies),
        ("zero_share", zeros),
        ("distance", distances),
        ("punctuation_share", commas),
    ):
        assert measured[key] == pytest.approx(np.mean(values), rel=1e-5), key
    assert 0 < measured["zero_share"] < 1
    assert measured["output_variance"] == pytest.approx(torch.cat(outputs).double().var(correction=0).item(), rel=1e-5)
    assert measured["residual_variance"] == pytest.approx(
        torch.cat(residuals).double().var(correction=0).item(), rel=1e-5
    )


def test_what_is_not_a_number_is_none(make_store, make_model):
    model = make_model()
    with torch.no_grad():
        model.encoder[0].ffn.memory.value.fill_(math.nan)
    places = sweep(model, make_store(), PUNCTUATION, padded_tokens=64, top_rows=10)
    json.dumps(places, allow_nan=False)
    assert places["encoder.0.ffn"]["variance_ratio"] is None
    assert places["encoder.0.ffn"]["entropy"] > 0
    assert places["encoder.1.attention"]["entropy"] is None
    assert places["encoder.1.attention"]["zero_rows"] == 0.0


class SquareReLU(Activation):
    """weights_ij = max(s_ij, 0)²."""

    def forward(self, scores):
        return scores.relu_().square()


def test_a_new_activation_is_measured(make_store, make_model, monkeypatch):
    monkeypatch.setattr(activations, "SquareReLU", SquareReLU, raising=False)
    target = config.Activation("reluformer.memory.activations:SquareReLU", {})
    monkeypatch.setitem(config.ACTIVATIONS, "relu-squared", target)
    memory = {"activation": "relu-squared"}
    model = make_model(ffn=memory, encoder_attention=memory)
    places = sweep(model, make_store(), PUNCTUATION, padded_tokens=64, top_rows=100)
    plain = sweep(make_model(), make_store(), PUNCTUATION, padded_tokens=64, top_rows=100)
    place = "encoder.0.attention"  # squares of the same scores: same zeros, more weight on the largest
    assert places[place]["zero_share"] == plain[place]["zero_share"]
    assert places[place]["top_share"]["20"] > plain[place]["top_share"]["20"]
    assert places[place]["entropy"] < plain[place]["entropy"]


def test_every_place_of_the_model_is_measured(make_store, make_model):
    places = sweep(make_model(), make_store(), PUNCTUATION, padded_tokens=64, top_rows=10)
    assert list(places) == [
        "encoder.0.attention",
        "encoder.0.ffn",
        "encoder.1.attention",
        "encoder.1.ffn",
        "decoder.0.attention",
        "decoder.0.cross_attention",
        "decoder.0.ffn",
    ]
    assert places["decoder.0.cross_attention"]["kind"] == "cross_attention"
    assert len(places["encoder.0.attention"]["entropy_by_head"]) == 2


EVERYWHERE = {
    "variance_ratio",
    "output_variance",
    "residual_variance",
    "entropy",
    "zero_share",
    "anisotropy",
    "top_share",
}
ATTENTION = {"entropy_by_head", "zero_share_by_head", "punctuation_share", "variance_by_length"}


def test_each_kind_has_the_measures_that_make_sense_for_it(make_store, make_model):
    places = sweep(make_model(), make_store(), PUNCTUATION, padded_tokens=64, top_rows=10)
    keys = {measures["kind"]: measures.keys() for measures in places.values()}
    assert keys.keys() == set(KINDS)
    assert all(keys[kind] >= EVERYWHERE for kind in KINDS)
    assert keys["ffn"] >= {"used_slots", "effective_slots", "value_norm_top_share"}
    assert not keys["ffn"] & {*ATTENTION, "distance", "beyond"}
    for kind in ("encoder_attention", "decoder_attention"):
        assert keys[kind] >= {*ATTENTION, "distance", "beyond"}
    assert keys["cross_attention"] >= ATTENTION
    assert not keys["cross_attention"] & {"distance", "beyond", "used_slots"}


def test_means_over_the_places_of_a_kind():
    places = {
        "encoder.0.attention": {"kind": "encoder_attention", "entropy": 1.0, "beyond": {"128": None}, "by_head": [1.0]},
        "encoder.1.attention": {"kind": "encoder_attention", "entropy": 2.0, "beyond": {"128": 0.5}, "by_head": [1.0]},
        "decoder.0.cross_attention": {"kind": "cross_attention", "entropy": 6.0, "curve": {"lengths": [1.0]}},
        "decoder.0.ffn": {"kind": "ffn", "entropy": None, "top_share": {"1": 0.5}},
    }
    kinds = mean_by_kind(places)
    assert kinds == {
        "encoder_attention": {"entropy": 1.5, "beyond": {"128": 0.5}},
        "cross_attention": {"entropy": 6.0},
        "ffn": {"entropy": None, "top_share": {"1": 0.5}},
        "attention": {"entropy": pytest.approx(3.0), "beyond": {"128": 0.5}},
    }


def test_without_places_there_are_no_kinds():
    assert mean_by_kind({}) == {}
