"""Steps of fixed shapes, buckets, their sizes and slices; captured steps give the results of the growing search.

tests/gpu tests CUDA itself, and test_search the results of a search with such steps.
"""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reluformer.config.memory import MemoryConfig
from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.translation import graphs
from reluformer.translation.graphs import (
    Beam,
    GraphBuckets,
    Sizes,
    Slice,
    buckets_of,
    graph_search,
    round_up,
    search_step,
)
from reluformer.translation.search import n_best_search

CPU = torch.device("cpu")


def batch(lengths, seed=0):
    random = np.random.default_rng(seed)
    src = torch.full((len(lengths), max(lengths) + 1), PAD)
    for row, length in enumerate(lengths):
        src[row, : length + 1] = torch.tensor([*random.integers(5, 40, length), EOS])
    return src, torch.arange(src.shape[1]) < torch.tensor(lengths)[:, None] + 1


def ragged(count, longest=45, seed=0):
    return batch(np.random.default_rng(seed).integers(1, longest, count).tolist(), seed)


def same(actual, expected):
    for ours, reference in zip(actual, expected, strict=True):
        assert [h.tokens.tolist() for h in ours] == [h.tokens.tolist() for h in reference]
        assert [h.score for h in ours] == pytest.approx([h.score for h in reference], abs=1e-4)


def test_sizes_are_rounded_up_by_a_half_at_most():
    assert [round_up(n, 8) for n in (0, 1, 8, 9, 12, 13, 16, 17, 24, 25, 100)] == [
        8,
        8,
        8,
        12,
        12,
        16,
        16,
        24,
        24,
        32,
        128,
    ]
    assert all(n <= round_up(n, 32) <= max(32, 1.5 * n) for n in range(1, 2000))


@pytest.mark.parametrize(
    ("system", "beam"),
    [
        *(("transformer", 1), ("transformer", 5), ("reluformer", 1), ("reluformer", 4), ("ffn-softmax-layernorm", 5)),
        *(("attention-relu", 5), ("attention-sparsemax", 4), ("attention-entmax15", 1), ("rela", 5)),
    ],
)
def test_systems_give_the_same_while_their_batch_shrinks_and_their_hypotheses_outgrow_their_slices(
    make_model, system, beam, tapes
):
    model = make_model(system)
    buckets = GraphBuckets(CPU, tapes if model.static else None)
    config = TranslationConfig(beam=beam, max_extra=4)
    for seed in range(2):
        inputs = ragged(14, seed=seed)
        same(graph_search(model, *inputs, config, beam, buckets), n_best_search(model, *inputs, config, beam))
    slices = [key for bucket in buckets.by_sizes.values() for key in bucket.slices]
    assert len({sources for sources, _ in slices}) > 1 and len({capacity for _, capacity in slices}) > 1


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_a_learned_gamma_and_other_length_penalties(make_model, tapes, length_penalty):
    learned = MemoryConfig(activation="relu-scaled", options={"gamma": "learned"})
    model = make_model("reluformer", decoder_attention=learned, cross_attention=learned, norm="pre")
    config, inputs = TranslationConfig(beam=4, length_penalty=length_penalty), ragged(12, longest=60)
    same(graph_search(model, *inputs, config, 2, GraphBuckets(CPU, tapes)), n_best_search(model, *inputs, config, 2))


def test_captured_steps_serve_later_batches_that_fit(make_model, tapes):
    model, buckets = make_model("reluformer"), GraphBuckets(CPU, tapes)
    config = TranslationConfig(beam=4)
    for seed, captured in ((0, 1), (1, 1), (2, 1)):
        inputs = batch([5, 9, 3 + seed, 12], seed)
        same(graph_search(model, *inputs, config, 1, buckets), n_best_search(model, *inputs, config, 1))
        assert (len(buckets.by_sizes), tapes.run, tapes.captured) == (1, 1, captured)
    for other in (TranslationConfig(beam=3), TranslationConfig(beam=4, length_penalty=0.5)):
        same(graph_search(model, *inputs, other, 1, buckets), n_best_search(model, *inputs, other, 1))
    assert len(buckets.by_sizes) == tapes.captured == 3


def test_a_bucket_stays_usable_after_a_failed_batch(make_model, tapes):
    model, buckets = make_model("transformer"), GraphBuckets(CPU, tapes)
    config, inputs = TranslationConfig(beam=3), batch([5, 9, 3])
    expected = n_best_search(model, *inputs, config, 1)
    same(graph_search(model, *inputs, config, 1, buckets), expected)
    with torch.no_grad():
        embedded = model.embeddings.source[5:].clone()
        model.embeddings.source[5:] = torch.nan
        with pytest.raises(SettingsError, match="predicts NaN or infinity"):
            graph_search(model, *inputs, config, 1, buckets)
        model.embeddings.source[5:] = embedded
    same(graph_search(model, *inputs, config, 1, buckets), expected)
    assert tapes.captured == 1


def test_the_most_recently_used_buckets_are_kept(toy_model, monkeypatch):
    model, buckets = toy_model(vocabulary=20), GraphBuckets(CPU, None)

    def bucket(sources):
        return buckets.bucket(model, Sizes(sources, 16, 32, 4, 1.0, 1))

    first = bucket(8)
    assert bucket(8) is first
    monkeypatch.setattr(graphs, "BUCKETS", 2)
    bucket(16)
    bucket(8)
    bucket(24)
    assert [sizes.sources for sizes in buckets.by_sizes] == [8, 24]
    monkeypatch.setattr(graphs, "BYTES", buckets.nbytes - 1)
    bucket(24)
    assert [sizes.sources for sizes in buckets.by_sizes] == [24]
    monkeypatch.setattr(graphs, "BYTES", 0)
    assert bucket(24) is buckets.by_sizes[Sizes(24, 16, 32, 4, 1.0, 1)]


def test_buckets_belong_to_a_model_and_are_dropped_with_its_weights_or_the_model(make_model):
    model = make_model("transformer")
    buckets = buckets_of(model, CPU)
    assert buckets_of(model, CPU) is buckets
    assert buckets_of(make_model("transformer"), CPU) is not buckets
    model.double()
    moved = buckets_of(model, CPU)
    assert moved is not buckets
    inputs = batch([3, 4])
    graph_search(model, *inputs, TranslationConfig(beam=2), 1, moved)
    references = weakref.ref(model), weakref.ref(moved)
    del model, moved
    gc.collect()
    assert [reference() for reference in references] == [None, None]


class Diary:
    """A capture that records its calls."""

    def __init__(self):
        self.entries = []

    def warm_up(self, step):
        self.entries.append("warm up")
        step()

    def capture(self, step):
        self.entries.append("capture")
        return lambda: self.entries.append("replay")


def test_a_step_is_called_then_captured_then_replayed(monkeypatch):
    diary = Diary()
    monkeypatch.setattr(graphs, "search_step", lambda *arguments: diary.entries.append("step"))
    for capture, entries in ((diary, ["warm up", "step", "capture", *["replay"] * 3]), (None, ["step"] * 4)):
        diary.entries.clear()
        view = Slice(SimpleNamespace(), SimpleNamespace(), capture)
        for _ in range(4):
            view.step(None, 1.0)
        assert diary.entries == entries


class Fixed:
    """A model with three tokens besides the special ones and the same logits for every prefix."""

    def __init__(self, logits):
        self.logits = torch.tensor(logits)
        self.parents = []

    def step(self, tokens, cache):
        return self.logits.expand(len(tokens), -1).clone()

    def reorder(self, rows):
        self.parents.append(rows)


def opened(limits, sources=4, width=2, capacity=8, n_best=1):
    beam = Beam.empty(sources, width, capacity, n_best, CPU)
    beam.fill(torch.tensor(limits))
    return beam


def step(beam, logits):
    decoder = Fixed(logits)
    search_step(decoder, decoder, beam, 1.0)
    return decoder


def test_a_batch_starts_with_one_hypothesis_per_sentence_and_empty_places_are_not_alive():
    beam = opened([5, 6, 7])
    assert beam.alive.tolist() == [True, True, True, False]
    assert beam.sentence.tolist() == [0, 1, 2, 4]
    assert beam.scores.tolist() == [[0.0, -torch.inf]] * 4
    assert (beam.last == BOS).all()


def test_the_first_step_cannot_end_and_fills_the_beam():
    beam = opened([5, 5, 5])
    step(beam, [0.0, 1.0, 0.0, 9.0, 2.0, -1.0])
    assert beam.last[:3].tolist() == beam.tokens[:3, :, 0].tolist() == [[4, 1]] * 3
    assert beam.status.tolist() == [3, 0]
    assert int(beam.t) == 1 and not beam.finished[:3].any()


def test_a_sentence_ends_at_its_length_limit():
    beam = opened([1, 5, 5])
    logits = [0.0, 1.0, 0.0, -3.0, 2.0, -1.0]
    step(beam, logits)
    step(beam, logits)
    log_p = torch.tensor(logits).log_softmax(0)
    assert beam.alive.tolist() == [False, True, True, False]
    assert beam.best.tokens[0, 0, :1].tolist() == [4] and int(beam.best.length[0, 0]) == 1
    assert float(beam.best.score[0, 0]) == pytest.approx(float(log_p[4] + log_p[EOS]) / 2)
    assert beam.best.score[1:].tolist() == [[-torch.inf]] * 4
    assert beam.status.tolist() == [2, 0]


def test_finished_hypotheses_are_not_changed_by_later_steps():
    beam = opened([1, 5, 5])
    logits = [0.0, 1.0, 0.0, -3.0, 2.0, -1.0]
    step(beam, logits)
    step(beam, logits)
    before = beam.best.score[0].clone(), beam.best.tokens[0].clone()
    step(beam, [0.0, 1.0, 0.0, 50.0, 2.0, -1.0])  # every hypothesis that may end does so
    assert torch.equal(beam.best.score[0], before[0]) and torch.equal(beam.best.tokens[0], before[1])
    assert beam.best.score[1:3].isfinite().all()
    assert beam.status.tolist() == [0, 0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_prediction_that_is_no_number_is_reported_if_a_sentence_is_alive(bad):
    beam = opened([5])
    step(beam, [0.0, 1.0, 0.0, 0.0, bad, 0.0])
    assert beam.status[1] == 1
    beam = opened([5])
    beam.alive.zero_()
    step(beam, [0.0, 1.0, 0.0, 0.0, bad, 0.0])
    assert beam.status.tolist() == [0, 0]


def test_a_narrowed_beam_shares_memory():
    beam = opened([5, 6, 7])
    view = beam.narrow(2, 4)
    step(view, [0.0, 1.0, 0.0, 9.0, 2.0, -1.0])
    assert beam.last[:, 0].tolist() == [4, 4, BOS, BOS]
    assert view.tokens.shape == (2, 2, 4) and beam.tokens[:2, :, 0].tolist() == [[4, 1]] * 2
    assert int(beam.t) == 1


def test_sentences_are_compacted_and_the_places_behind_them_are_empty():
    beam = opened([5, 6, 7, 8])
    beam.last[3] = torch.tensor([11, 12])
    beam.alive.copy_(torch.tensor([False, False, True, True]))
    beam.move(torch.tensor([0, 1]), torch.tensor([2, 3]), 2)
    assert beam.sentence.tolist() == [2, 3, 4, 4]
    assert beam.limits[:2].tolist() == [7, 8]
    assert beam.last[1].tolist() == [11, 12]
    assert beam.alive.tolist() == [True, True, False, False]
