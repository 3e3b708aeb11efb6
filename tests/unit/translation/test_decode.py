from __future__ import annotations

import numpy as np

from reluformer.translation.config import TranslationConfig
from reluformer.translation.decode import length_batches, translate


def test_batches_hold_similar_lengths_and_no_more_than_their_tokens():
    lengths = np.random.default_rng(0).integers(2, 60, 500)
    batches = list(length_batches(lengths, 400))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 400 for batch in batches)
    assert [lengths[batch].max() for batch in batches] == sorted((lengths[b].max() for b in batches), reverse=True)
    assert sum(len(batch) * lengths[batch].max() for batch in batches) < 1.05 * lengths.sum()


def test_a_source_longer_than_a_batch_is_a_batch_of_its_own():
    assert [batch.tolist() for batch in length_batches(np.array([3, 50, 3]), 10)] == [[1], [0, 2]]


def test_translations_come_in_the_order_of_the_sources_whatever_the_batches(toy_model):
    model = toy_model(vocabulary=80)
    random = np.random.default_rng(1)
    sources = [random.integers(5, 80, random.integers(1, 12)).astype(np.uint16) for _ in range(50)]
    small = translate(model, sources, TranslationConfig(beam=3, batch_tokens=1))
    large = translate(model, sources, TranslationConfig(beam=3, batch_tokens=200))
    assert [h.tokens.tolist() for h in small] == [h.tokens.tolist() for h in large]
    assert len({tuple(h.tokens) for h in large}) > 40


def test_no_sources_no_translations(toy_model):
    assert translate(toy_model(vocabulary=10), [], TranslationConfig()) == []
