"""What one step of fixed shapes leaves behind; that the search of such steps is right is in test_search."""

from __future__ import annotations

import pytest
import torch

from reluformer.corpus.subword import BOS, EOS
from reluformer.translation.static import Beam, search_step

CPU = torch.device("cpu")


class Fixed:
    """Three tokens beside the special ones, the same logits whatever came before."""

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


def test_a_batch_begins_with_one_hypothesis_each_and_places_without_a_sentence_are_not_alive():
    beam = opened([5, 6, 7])
    assert beam.alive.tolist() == [True, True, True, False]
    assert beam.sentence.tolist() == [0, 1, 2, 4]
    assert beam.scores.tolist() == [[0.0, -torch.inf]] * 4
    assert (beam.last == BOS).all()


def test_the_first_step_has_no_end_and_opens_the_beam():
    beam = opened([5, 5, 5])
    step(beam, [0.0, 1.0, 0.0, 9.0, 2.0, -1.0])
    assert beam.last[:3].tolist() == beam.tokens[:3, :, 0].tolist() == [[4, 1]] * 3
    assert beam.status.tolist() == [3, 0]
    assert int(beam.t) == 1 and not beam.finished[:3].any()


def test_at_its_limit_a_sentence_ends_with_what_it_has():
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


def test_what_ended_stays_as_it_was_whatever_its_place_computes_then():
    beam = opened([1, 5, 5])
    logits = [0.0, 1.0, 0.0, -3.0, 2.0, -1.0]
    step(beam, logits)
    step(beam, logits)
    before = beam.best.score[0].clone(), beam.best.tokens[0].clone()
    step(beam, [0.0, 1.0, 0.0, 50.0, 2.0, -1.0])  # every hypothesis that may end does, with certainty
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


def test_a_narrowed_beam_lies_in_the_same_memory():
    beam = opened([5, 6, 7])
    view = beam.narrow(2, 4)
    step(view, [0.0, 1.0, 0.0, 9.0, 2.0, -1.0])
    assert beam.last[:, 0].tolist() == [4, 4, BOS, BOS]
    assert view.tokens.shape == (2, 2, 4) and beam.tokens[:2, :, 0].tolist() == [[4, 1]] * 2
    assert int(beam.t) == 1


def test_sentences_move_together_and_the_places_behind_them_are_empty():
    beam = opened([5, 6, 7, 8])
    beam.last[3] = torch.tensor([11, 12])
    beam.alive.copy_(torch.tensor([False, False, True, True]))
    beam.move(torch.tensor([0, 1]), torch.tensor([2, 3]), 2)
    assert beam.sentence.tolist() == [2, 3, 4, 4]
    assert beam.limits[:2].tolist() == [7, 8]
    assert beam.last[1].tolist() == [11, 12]
    assert beam.alive.tolist() == [True, True, False, False]
