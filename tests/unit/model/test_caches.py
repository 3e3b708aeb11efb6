from __future__ import annotations

import pytest
import torch

from reluformer.memory.mask import AttentionMask
from reluformer.model.caches import DynamicCache, StaticCache

TIGHT = {"atol": 1e-5, "rtol": 1e-5}


def state(capacity=4):
    """Returns a cache of two layers, three sources of five tokens and one head of width 2."""
    source = torch.arange(2 * 2 * 3 * 1 * 5 * 2).view(2, 2, 3, 1, 5, 2).float()
    keys = torch.ones(3, 5, dtype=torch.bool)
    keys[2, 4:] = False
    return DynamicCache([(key.clone(), value.clone()) for key, value in source], AttentionMask(5, keys), capacity)


def put(s, layer, numbers):
    """Appends a token to each row, with its number as key and the negative number as value."""
    s.advance()
    key = torch.tensor(numbers).float().view(s.sources, 1, s.width, 1).expand(-1, -1, -1, 2)
    return s.extend(layer, key, -key)


def numbers_seen(s, layer=0):
    """Returns the numbers that each row sees."""
    key, value = s.target[layer]
    rows = []
    for source, paths in enumerate(s.path):
        for path in paths:
            assert torch.equal(key[source, 0, path], -value[source, 0, path])
            rows.append(key[source, 0, path, 0].int().tolist())
    return rows


def test_the_cache_grows_without_losing_content():
    s = state(capacity=2)
    for i in range(40):
        key, value = put(s, 1, [i, 100 + i, 200 + i])
        assert torch.equal(key.path, value.path) and key.path.shape == (3, 1, i + 1)
    assert s.position == 40
    assert numbers_seen(s, layer=1) == [[100 * source + i for i in range(40)] for source in range(3)]


def test_rows_are_reordered_repeated_and_dropped_without_moving_their_slots():
    s = state(capacity=64)
    put(s, 0, [1, 2, 3])
    before = s.target[0][0]
    s.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert (len(s), s.sources, s.width) == (6, 3, 2)
    put(s, 0, [10, 11, 20, 21, 30, 31])
    s.select(torch.tensor([1, 0, 2, 2, 5, 4]))
    put(s, 0, [12, 13, 22, 23, 32, 33])
    assert s.target[0][0] is before
    assert numbers_seen(s) == [[1, 11, 12], [1, 10, 13], [2, 20, 22], [2, 20, 23], [3, 31, 32], [3, 30, 33]]


def test_the_place_of_a_finished_source_is_filled_by_another_and_no_other_moves():
    s = state()
    put(s, 0, [1, 2, 3])
    s.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    put(s, 0, [10, 11, 20, 21, 30, 31])
    source, memory = s.source[1][1].clone(), s.target[0][0].data_ptr()
    s.select(torch.tensor([5, 4, 3, 3]))
    assert (len(s), s.sources) == (4, 2)
    assert s.target[0][0].data_ptr() == memory
    assert numbers_seen(s) == [[3, 31], [3, 30], [2, 21], [2, 21]]
    assert torch.equal(s.source[1][1], source[[2, 1]])
    assert s.visible.keys.sum(1).tolist() == [4, 5]


def test_unequal_numbers_of_rows_each_get_their_own_source():
    s = state()
    put(s, 0, [1, 2, 3])
    source = s.source[0][0].clone()
    s.select(torch.tensor([2, 0, 0, 1]))
    assert (len(s), s.sources) == (4, 4)
    assert torch.equal(s.source[0][0], source[[2, 0, 0, 1]])
    put(s, 0, [30, 10, 11, 20])
    s.select(torch.tensor([0, 2]))
    assert numbers_seen(s) == [[3, 30], [1, 11]]
    assert torch.equal(s.source[0][0], source[[2, 0]])


def static(sources=4, width=2, capacity=6):
    """Returns a static cache of two layers, three source tokens and one head; position n has a vector of n."""
    table = torch.arange(capacity).float()[:, None].expand(-1, 5).contiguous()
    return StaticCache.empty(table, 2, sources, width, 3, (1, 2))


def numbers_marked(s, layer=0):
    """Returns the numbers that each row sees."""
    key, value = s.target[layer]
    assert torch.equal(key, -value)
    return [[key[b, 0, marks, 0].int().tolist() for marks in rows] for b, rows in enumerate(s.marks)]


def test_static_and_growing_caches_give_the_same_logits(make_model, make_batch, system):
    model, few = make_model(system), make_batch()
    cache = model.static_cache(5, 2, 9, 8)
    with torch.inference_mode():
        for sentences in (make_batch((9, 2, 6, 4, 1), (3,) * 5), few):  # no batch affects the next
            model.fill(cache, sentences.src, sentences.src_mask)
            narrowed = cache.narrow(len(sentences.src), 7)
            grown = model.start(sentences.src, sentences.src_mask)
            grown.select(torch.arange(len(sentences.src)).repeat_interleave(2))
            generator = torch.Generator().manual_seed(2)
            for _ in range(6):
                tokens = torch.randint(5, 40, (2 * len(sentences.src),), generator=generator)
                torch.testing.assert_close(model.step(tokens, narrowed), model.step(tokens, grown), **TIGHT)
                rows = torch.randint(0, 2, (len(sentences.src), 2), generator=generator)
                narrowed.reorder(rows)
                grown.select((rows + 2 * torch.arange(len(rows))[:, None]).flatten())


def test_places_without_a_sentence_stay_finite(make_model, sentences, system):
    model = make_model(system)
    cache = model.static_cache(6, 2, 16, 8)
    with torch.inference_mode():
        model.fill(cache, sentences.src, sentences.src_mask)
        for _ in range(4):
            assert model.step(torch.full((12,), 7), cache).isfinite().all()


def test_static_rows_are_reordered_without_moving_their_slots():
    s = static(sources=1)
    put(s, 0, [1, 2])
    memory = s.target.clone()
    s.reorder(torch.tensor([[1, 1]]))
    assert torch.equal(s.target, memory)
    put(s, 0, [3, 4])
    s.reorder(torch.tensor([[1, 0]]))
    assert numbers_marked(s) == [[[2, 4], [2, 3]]]
    assert s.seen.count(2, memory) == 2 and s.seen.mask(2).shape == (1, 1, 2, 12)
    assert s.first.tolist() == [[1.0] * 5]


def test_a_narrowed_cache_shares_memory():
    s = static()
    put(s.narrow(2, 3), 1, [1, 2, 3, 4])
    assert numbers_marked(s, layer=1) == [[[1], [2]], [[3], [4]], [[], []], [[], []]]
    put(s, 1, [5, 6, 7, 8, 9, 10, 11, 12])
    assert numbers_marked(s, layer=1)[:2] == [[[1, 5], [2, 6]], [[3, 7], [4, 8]]]


def test_unfinished_sources_take_the_places_of_finished_ones():
    s = static(sources=3)
    source = [(torch.full((3, 1, 3, 2), float(layer)), torch.rand(3, 1, 3, 2)) for layer in range(2)]
    s.fill(source, torch.tensor([[True] * 3, [True, False, False], [True, True, False]]))
    put(s, 0, [1, 2, 3, 4, 5, 6])
    s.move(torch.tensor([0]), torch.tensor([2]))
    assert numbers_marked(s) == [[[5], [6]], [[3], [4]], [[5], [6]]]
    assert s.visible.count(2, source[0][0]).flatten().tolist() == [2, 1, 2]
    for layer in range(2):
        assert torch.equal(s.source_slots(layer)[1], source[layer][1][[2, 1, 2]])


def test_a_new_batch_starts_with_an_empty_cache():
    s = static()
    s.fill([(torch.ones(4, 1, 3, 2),) * 2] * 2, torch.ones(4, 3, dtype=torch.bool))
    put(s, 0, range(8))
    s.fill([(torch.ones(1, 1, 2, 2),) * 2] * 2, torch.ones(1, 2, dtype=torch.bool))
    assert s.source.sum() == 2 * 2 * 2 * 2 and s.keys.sum() == 2
    assert not s.target.any() and not s.marks.any() and s.position == 0
    put(s, 0, range(8))
    assert numbers_marked(s)[3] == [[6], [7]]


def test_models_whose_steps_can_be_captured(make_model):
    model = make_model("reluformer")
    assert model.static and make_model("transformer").static
    assert not make_model("attention-entmax15").static
    assert make_model("transformer", encoder_attention={"activation": "sparsemax"}).static  # the encoder runs once
    place = next(place for place in model.places() if place.place == "decoder.0.ffn")
    place.observer = lambda name, read: None
    assert not model.static


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_static_cache_has_the_models_dtype(make_model, dtype):
    cache = make_model("reluformer").to(dtype).static_cache(1, 1, 1, 1)
    assert {cache.source.dtype, cache.target.dtype, cache.table.dtype} == {dtype}
    assert cache.nbytes == (cache.source.numel() + cache.target.numel()) * dtype.itemsize
