"""Observes every read of a model while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reluformer.memory.read import Observation
from reluformer.model.layers import Observer
from reluformer.model.transformer import Transformer

__all__ = ["Observation", "Observer", "observe"]


@contextmanager
def observe(model: Transformer, callback: Observer) -> Iterator[None]:
    """Calls `callback(place, observation)` for every read of every memory, in training, evaluation and decoding.

    place: `encoder.0.attention`, `encoder.0.ffn`, `decoder.0.attention`, `decoder.0.cross_attention`, `decoder.0.ffn`
    and so on. Tensors keep their autograd graph where gradients are on. Layers are not recomputed meanwhile, whatever
    `checkpoint_activations` says. Observers nest: the inner one replaces the outer one until it ends.
    """
    places = list(model.places())
    before = [place.observer for place in places]
    for place in places:
        place.observer = callback
    try:
        yield
    finally:
        for place, observer in zip(places, before, strict=True):
            place.observer = observer
