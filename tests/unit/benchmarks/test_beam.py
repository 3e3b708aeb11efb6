"""The benchmark of the beam search, without its peers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks import beam
from benchmarks.beam import LENGTH, Eager, Fixed, best, check

from reluformer.config.model import ModelConfig
from reluformer.config.translation import TranslationConfig
from reluformer.translation.decode import translate
from reluformer.translation.graphs import GraphBuckets, graph_search


def test_every_output_has_the_same_length_and_its_end_costs_nothing():
    config = ModelConfig(encoder_layers=1, decoder_layers=1, width=16, heads=2, slots=16, vocabulary=50)
    search = TranslationConfig(beam=3, max_ratio=1e-6, max_extra=LENGTH)
    found = translate(Fixed(config).eval(), [np.arange(5, 5 + length) for length in (2, 9, 30)], search)
    assert [len(hypothesis.tokens) for hypothesis in found] == [LENGTH] * 3
    assert all(-5 < hypothesis.score < 0 for hypothesis in found)


def test_graphs_give_outputs_of_that_length_too_and_its_twin_is_searched_without():
    config = ModelConfig(encoder_layers=1, decoder_layers=1, width=16, heads=2, slots=16, vocabulary=50)
    search = TranslationConfig(beam=3, max_ratio=1e-6, max_extra=LENGTH)
    model, eager = Fixed(config).eval(), Eager(config).eval()
    eager.load_state_dict(model.state_dict())
    assert (model.static, eager.static) == (True, False)
    src = torch.tensor([[5, 6, 7, 3], [8, 9, 10, 3]])
    found = graph_search(model, src, src > 0, search, 1, GraphBuckets(torch.device("cpu"), None))
    expected = translate(eager, [np.array([5, 6, 7]), np.array([8, 9, 10])], search)
    assert [one[0].tokens.tolist() for one in found] == [one.tokens.tolist() for one in expected]
    assert [len(one.tokens) for one in expected] == [LENGTH] * 2


def test_a_cuda_device_is_measured_where_there_is_one(monkeypatch):
    monkeypatch.setattr(beam, "compare", lambda size, rounds: [f"CPU {size} {rounds}"])
    monkeypatch.setattr(beam, "compare_on_cuda", lambda size, rounds: [f"CUDA {size} {rounds}"])
    options = beam.parser().parse_args(["--sizes", "small", "--rounds", "2"])
    for available, expected in ((False, "CPU small 2"), (True, "CUDA small 2")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert beam.measured(options) == [expected]


def test_other_lengths_or_other_translations_are_an_error():
    ours = [[5] * LENGTH, [6] * LENGTH]
    check({"ours": ours, "ctranslate": ours})
    with pytest.raises(SystemExit, match="other lengths"):
        check({"ours": ours, "ctranslate": [ours[0], [6]]})
    with pytest.raises(SystemExit, match="as we do"):
        check({"ours": ours, "ctranslate": [ours[0], ours[0]]})


def test_the_best_setting_is_the_fastest():
    assert best(lambda batch: -abs(batch - 7), [{"batch": n} for n in (3, 8, 20)]) == {"batch": 8}
