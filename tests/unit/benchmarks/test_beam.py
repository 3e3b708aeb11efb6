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
    hypotheses = translate(Fixed(config).eval(), [np.arange(5, 5 + length) for length in (2, 9, 30)], search)
    assert [len(hypothesis.tokens) for hypothesis in hypotheses] == [LENGTH] * 3
    assert all(-5 < hypothesis.score < 0 for hypothesis in hypotheses)


def test_graphs_give_outputs_of_the_same_length_as_the_eager_twin():
    config = ModelConfig(encoder_layers=1, decoder_layers=1, width=16, heads=2, slots=16, vocabulary=50)
    search = TranslationConfig(beam=3, max_ratio=1e-6, max_extra=LENGTH)
    model, eager = Fixed(config).eval(), Eager(config).eval()
    eager.load_state_dict(model.state_dict())
    assert (model.static, eager.static) == (True, False)
    src = torch.tensor([[5, 6, 7, 3], [8, 9, 10, 3]])
    hypotheses = graph_search(model, src, src > 0, search, 1, GraphBuckets(torch.device("cpu"), None))
    expected = translate(eager, [np.array([5, 6, 7]), np.array([8, 9, 10])], search)
    assert [n_best[0].tokens.tolist() for n_best in hypotheses] == [h.tokens.tolist() for h in expected]
    assert [len(h.tokens) for h in expected] == [LENGTH] * 2


def test_other_translations_are_an_error():
    ours = [[5] * LENGTH, [6] * LENGTH]
    check(ours, ours)
    with pytest.raises(SystemExit, match="as we do"):
        check(ours, [ours[0], ours[0]])


class Echo:
    """Stands in for both peers: answers every search at once."""

    def __init__(self, name, threads):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, **arguments):
        if function == "translate":
            return 2.0, [[5] * arguments["length"]] * len(arguments["sources"])


def test_a_size_has_a_row_for_each_peer_and_one_for_relu(monkeypatch):
    monkeypatch.setattr(beam, "Peer", Echo)
    monkeypatch.setattr(beam, "SIZES", {"tiny": beam.Size(1, 16, 16, 3, 1.0)})
    monkeypatch.setattr(beam, "check", lambda *_: None)
    rows = beam.rows(["tiny"], rounds=1)
    assert [row.peer for row in rows] == [
        *("CTranslate2 float32", "CTranslate2, a step fewer", "MarianMT generate", "our transformer"),
        *("ours in float32", "CTranslate2 int8"),
    ]
    assert [row.theirs for row in rows[:3]] == [LENGTH * 3 / 2.0] * 3 and rows[3].ours > 0
    with pytest.raises(SystemExit, match="another length than 25"):
        monkeypatch.setattr(Echo, "call", lambda self, function, **arguments: (1.0, [[5]]))
        beam.search_by_peer(Echo("marian", 1), beam.random_sources(1), 100)


def test_the_best_setting_is_the_fastest():
    assert best(lambda batch: -abs(batch - 7), [{"batch": n} for n in (3, 8, 20)]) == {"batch": 8}
