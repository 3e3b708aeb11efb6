from __future__ import annotations

import pytest
import torch

from reluformer.analysis.places import mean_by_kind, measures_of
from reluformer.config.model import KINDS

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


def keys(kind):
    return {key for measure in measures_of(kind, 1) for key in measure.result()}


def test_each_kind_has_the_measures_that_make_sense_for_it():
    for kind in KINDS:
        assert keys(kind) >= EVERYWHERE
    assert keys("ffn") >= {"used_slots", "effective_slots", "value_norm_top_share"}
    assert not keys("ffn") & {*ATTENTION, "distance", "beyond"}
    for kind in ("encoder_attention", "decoder_attention"):
        assert keys(kind) >= {*ATTENTION, "distance", "beyond"}
    assert keys("cross_attention") >= ATTENTION
    assert not keys("cross_attention") & {"distance", "beyond", "used_slots"}


def test_no_two_measures_share_a_key():
    for kind in KINDS:
        found = [key for measure in measures_of(kind, 1) for key in measure.result()]
        assert len(found) == len(set(found))


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


def test_no_places_no_kinds():
    assert mean_by_kind({}) == {}


def test_measures_keep_nothing_that_grows(make_rows):
    """After any number of batches, a measure holds as much as after the first."""

    def held(measure):
        tensors = [value for value in vars(measure).values() if isinstance(value, torch.Tensor)]
        nested = [value for value in vars(measure).values() if hasattr(value, "__dict__")]
        return sum(tensor.numel() for tensor in tensors) + sum(held(value) for value in nested)

    weights = torch.rand(5, 2, 6)
    extra = {
        "values": torch.rand(4, 2, 3),
        "visible": torch.ones(5, 6, dtype=torch.bool),
        "distance": torch.ones(5, 6, dtype=torch.long),
        "punctuation": torch.ones(5, 6, dtype=torch.bool),
    }
    for measure in measures_of("encoder_attention", 1):
        measure.update(make_rows(weights, **extra))
        size = held(measure)
        for _ in range(3):
            measure.update(make_rows(weights, **extra))
        assert held(measure) == size
