"""Rooms, their sizes and their parts; steps put down in them give what the growing search gives."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from reluformer.config.memory import MemoryConfig
from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import EOS, PAD
from reluformer.translation import fixed
from reluformer.translation.fixed import Rooms, Sizes, fixed_search, rooms_of, size
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


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert [h.tokens.tolist() for h in one] == [h.tokens.tolist() for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)


def test_sizes_are_rounded_up_by_a_half_at_most():
    assert [size(n, 8) for n in (0, 1, 8, 9, 12, 13, 16, 17, 24, 25, 100)] == [8, 8, 8, 12, 12, 16, 16, 24, 24, 32, 128]
    assert all(n <= size(n, 32) <= max(32, 1.5 * n) for n in range(1, 2000))


@pytest.mark.parametrize(
    ("system", "beam"),
    [
        *(("transformer", 1), ("transformer", 5), ("reluformer", 1), ("reluformer", 4), ("ffn-softmax-layernorm", 5)),
        *(("attention-relu", 5), ("attention-sparsemax", 4), ("attention-entmax15", 1), ("rela", 5)),
    ],
)
def test_systems_give_the_same_while_their_batch_shrinks_and_their_hypotheses_outgrow_their_parts(
    make_model, system, beam, tapes
):
    model = make_model(system)
    rooms = Rooms(CPU, tapes if model.static else None)
    config = TranslationConfig(beam=beam, max_extra=4)
    for seed in range(2):
        inputs = ragged(30, seed=seed)
        same(fixed_search(model, *inputs, config, beam, rooms), n_best_search(model, *inputs, config, beam))
    parts = [part for room in rooms.kept.values() for part in room.parts]
    assert len({sources for sources, _ in parts}) > 1 and len({capacity for _, capacity in parts}) > 1


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_a_learned_gamma_and_other_length_penalties(make_model, tapes, length_penalty):
    learned = MemoryConfig(activation="relu-scaled", options={"gamma": "learned"})
    model = make_model("reluformer", decoder_attention=learned, cross_attention=learned, norm="pre")
    config, inputs = TranslationConfig(beam=4, length_penalty=length_penalty), ragged(12, longest=60)
    same(fixed_search(model, *inputs, config, 2, Rooms(CPU, tapes)), n_best_search(model, *inputs, config, 2))


def test_steps_put_down_serve_later_batches_that_fit(make_model, tapes):
    model, rooms = make_model("reluformer"), Rooms(CPU, tapes)
    config = TranslationConfig(beam=4)
    for seed, recorded in ((0, 1), (1, 1), (2, 1)):
        inputs = batch([5, 9, 3 + seed, 12], seed)
        same(fixed_search(model, *inputs, config, 1, rooms), n_best_search(model, *inputs, config, 1))
        assert (len(rooms.kept), tapes.run, tapes.recorded) == (1, 1, recorded)
    for other in (TranslationConfig(beam=3), TranslationConfig(beam=4, length_penalty=0.5)):
        same(fixed_search(model, *inputs, other, 1, rooms), n_best_search(model, *inputs, other, 1))
    assert len(rooms.kept) == tapes.recorded == 3


def test_a_room_is_as_new_after_a_batch_that_failed(make_model, tapes):
    model, rooms = make_model("transformer"), Rooms(CPU, tapes)
    config, inputs = TranslationConfig(beam=3), batch([5, 9, 3])
    expected = n_best_search(model, *inputs, config, 1)
    same(fixed_search(model, *inputs, config, 1, rooms), expected)
    with torch.no_grad():
        kept = model.embeddings.source[5:].clone()
        model.embeddings.source[5:] = torch.nan
        with pytest.raises(SettingsError, match="predicts NaN or infinity"):
            fixed_search(model, *inputs, config, 1, rooms)
        model.embeddings.source[5:] = kept
    same(fixed_search(model, *inputs, config, 1, rooms), expected)
    assert tapes.recorded == 1


def test_rooms_used_last_are_kept(toy_model, monkeypatch):
    model, rooms = toy_model(vocabulary=20), Rooms(CPU, None)

    def room(sources):
        return rooms.room(model, Sizes(sources, 16, 32, 4, 1.0, 1))

    first = room(8)
    assert room(8) is first
    monkeypatch.setattr(fixed, "ROOMS", 2)
    room(16)
    room(8)
    room(24)
    assert [sizes.sources for sizes in rooms.kept] == [8, 24]
    monkeypatch.setattr(fixed, "BYTES", rooms.nbytes - 1)
    room(24)
    assert [sizes.sources for sizes in rooms.kept] == [24]
    monkeypatch.setattr(fixed, "BYTES", 0)
    assert room(24) is rooms.kept[Sizes(24, 16, 32, 4, 1.0, 1)]


def test_rooms_are_a_models_own_and_go_with_its_weights_and_with_itself(make_model):
    model = make_model("transformer")
    rooms = rooms_of(model, CPU)
    assert rooms_of(model, CPU) is rooms
    assert rooms_of(make_model("transformer"), CPU) is not rooms
    model.double()
    moved = rooms_of(model, CPU)
    assert moved is not rooms
    inputs = batch([3, 4])
    fixed_search(model, *inputs, TranslationConfig(beam=2), 1, moved)
    gone = weakref.ref(model), weakref.ref(moved)
    del model, moved
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
