from __future__ import annotations

import itertools
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from reluformer.corpus import CorpusError
from reluformer.corpus.batches import BatchSampler, Update, collate, length_batches
from reluformer.corpus.store import Sequences, Store, StoreWriter
from reluformer.corpus.subword import BOS, EOS, PAD

Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]


def iwslt_like(count: int = 30_000, seed: int = 0) -> Lengths:
    """Returns log-normal source lengths with a mean of about 25 tokens, and proportional target lengths."""
    rng = np.random.default_rng(seed)
    src = np.clip(rng.lognormal(3.0, 0.6, count), 1, 175).astype(np.int64)
    tgt = np.clip(src * rng.normal(1.0, 0.15, count), 1, 175).astype(np.int64)
    return src, tgt


def epoch(lengths: Lengths, **options: int) -> list[Update]:
    sampler = BatchSampler(*lengths, **{"batch_tokens": 4096, "seed": 1, **options})  # type: ignore[arg-type]
    return list(itertools.takewhile(lambda update: update.epoch == 0, sampler))


def global_batch(updates: list[Update]) -> list[int]:
    """Returns the sequences of all ranks in one update."""
    return sorted(np.concatenate([part for update in updates for part in update.micro]).tolist())


def test_an_epoch_is_every_sequence_once() -> None:
    lengths = iwslt_like(3000)
    indices = np.concatenate([part for update in epoch(lengths) for part in update.micro])
    assert sorted(indices.tolist()) == list(range(3000))


def test_batches_stay_within_the_budget_of_target_tokens() -> None:
    lengths = iwslt_like()
    tokens = [update.target_tokens for update in epoch(lengths)]
    assert max(tokens) <= 4096
    assert np.mean(tokens) > 0.93 * 4096
    assert sum(tokens) == int(lengths[1].sum()) + len(lengths[1])  # EOS included


@pytest.mark.parametrize("rest", [200, 900, 4000])
def test_the_last_batches_of_an_epoch_have_no_more_padding_than_others(rest: int) -> None:
    """Whatever is left of an epoch after whole windows, it is not a window of a few batches of mixed lengths."""
    src, tgt = iwslt_like()
    count = int(np.searchsorted(np.cumsum(tgt + 1), 2 * 200 * 1024 + rest))
    updates = epoch((src[:count], tgt[:count]), batch_tokens=1024, window=200)
    padded = [max(len(part) * (side[part].max() + 1) for side in (src, tgt)) for [part], *_ in updates]
    assert max(padded[-5:]) <= max(padded[:-5])
    assert max(padded) < 1.7 * 1024


def test_target_tokens_are_of_the_whole_batch() -> None:
    lengths = iwslt_like(3000)
    for updates in zip(*(epoch(lengths, rank=rank, world_size=2) for rank in range(2)), strict=True):
        tokens = sum(int((lengths[1][part] + 1).sum()) for update in updates for part in update.micro)
        assert updates[0].target_tokens == updates[1].target_tokens == tokens


def test_real_tokens_are_at_least_95_percent() -> None:
    src, tgt = iwslt_like()
    real = padded = 0
    for update in epoch((src, tgt)):
        (part,) = update.micro
        real += int((src[part] + 1).sum() + (tgt[part] + 1).sum())
        padded += len(part) * int(src[part].max() + tgt[part].max() + 2)
    assert real / padded >= 0.95


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (1, 3), (2, 2), (8, 1)])
def test_the_global_batch_does_not_depend_on_processes_and_accumulation(world_size: int, accumulation: int) -> None:
    lengths = iwslt_like(3000)
    dealt = [epoch(lengths, rank=rank, world_size=world_size, accumulation=accumulation) for rank in range(world_size)]
    for whole, split in zip(epoch(lengths), zip(*dealt, strict=True), strict=True):
        assert global_batch([whole]) == global_batch(list(split))
        assert all(len(update.micro) == accumulation for update in split)
        tokens = [int((lengths[1][part] + 1).sum()) for update in split for part in update.micro]
        assert min(tokens) > 0
    assert min(tokens) > 0.3 * max(tokens)


def test_no_part_is_ever_empty_with_few_long_segments() -> None:
    lengths = np.full(37, 2000), np.full(37, 2000)
    updates = [epoch(lengths, rank=rank, world_size=4) for rank in range(4)]
    assert all(len(part) for rank in updates for update in rank for part in update.micro)
    indices = [i for step in zip(*updates, strict=True) for i in global_batch(list(step))]
    assert set(indices) == set(range(37)) and len(indices) <= 40


def test_too_few_sequences_for_the_processes() -> None:
    with pytest.raises(CorpusError, match="3 training sequences: too few for 2 processes x 2 steps"):
        BatchSampler(np.ones(3, int), np.ones(3, int), batch_tokens=10, seed=1, world_size=2, accumulation=2)


def test_deterministic_in_seed_epoch_and_rank() -> None:
    lengths = iwslt_like(3000)

    def order(**options: int) -> list[list[int]]:
        return [part.tolist() for update in epoch(lengths, **options) for part in update.micro]

    assert order() == order()
    assert order() != order(seed=2)
    assert order(rank=0, world_size=2) != order(rank=1, world_size=2)
    sampler = BatchSampler(*lengths, batch_tokens=4096, seed=1)
    first, second = (list(sampler.epoch_batches(i)) for i in range(2))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second))


def test_resumes_in_the_middle_of_an_epoch() -> None:
    lengths = iwslt_like(2000)

    def sampler() -> BatchSampler:
        return BatchSampler(*lengths, batch_tokens=4096, seed=1, world_size=2)

    saved, count = sampler(), len(epoch(lengths, world_size=2))
    for _ in range(count + 3):  # three updates into the second epoch
        next(saved)
    state = saved.state_dict()
    expected = [next(saved) for _ in range(count)]
    resumed = sampler()
    resumed.load_state_dict(state)
    for update, again in zip(expected, resumed, strict=False):
        assert update.epoch == again.epoch
        assert [part.tolist() for part in update.micro] == [part.tolist() for part in again.micro]


def test_resumes_with_another_number_of_processes() -> None:
    lengths = iwslt_like(2000)
    single = BatchSampler(*lengths, batch_tokens=2000, seed=1)
    for _ in range(5):
        next(single)
    ranks = [BatchSampler(*lengths, batch_tokens=2000, seed=1, rank=rank, world_size=2) for rank in range(2)]
    for sampler in ranks:
        sampler.load_state_dict(single.state_dict())
    assert global_batch([next(single)]) == global_batch([next(sampler) for sampler in ranks])


def test_state_of_another_seed() -> None:
    lengths = iwslt_like(100)
    first, second = (BatchSampler(*lengths, batch_tokens=100, seed=seed) for seed in (1, 2))
    with pytest.raises(CorpusError, match="seed 1, this run has 2"):
        second.load_state_dict(first.state_dict())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=4, max_size=60), st.integers(1, 4))
def test_any_lengths(pairs: list[tuple[int, int]], parts: int) -> None:
    src, tgt = np.array(pairs).T
    updates = [epoch((src, tgt), batch_tokens=50, rank=rank, world_size=parts, window=2) for rank in range(parts)]
    indices = [i for step in zip(*updates, strict=True) for i in global_batch(list(step))]
    assert set(indices) == set(range(len(pairs)))
    assert all(len(part) for rank in updates for update in rank for part in update.micro)


def test_collate(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, 100, documents=False) as writer:
        writer.add(Sequences.of([[10, 11], [12]]), Sequences.of([[20], [21, 22, 23]]))
    batch = collate(Store(tmp_path), [1, 0])
    assert batch.src.tolist() == [[12, EOS, PAD], [10, 11, EOS]]
    assert batch.src_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.tgt_in.tolist() == [[BOS, 21, 22, 23], [BOS, 20, PAD, PAD]]
    assert batch.tgt_out.tolist() == [[21, 22, 23, EOS], [20, EOS, PAD, PAD]]
    assert batch.tgt_mask.tolist() == [[True, True, True, True], [True, True, False, False]]
    assert batch.src.dtype == np.int64 and batch.src_mask.dtype == bool


@pytest.mark.parametrize("descending", [False, True])
def test_length_batches_hold_every_sequence_once_within_the_budget(descending: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    order = np.argsort(-lengths if descending else lengths, kind="stable")
    batches = list(length_batches(order, lengths, 100))
    assert np.concatenate(batches).tolist() == order.tolist()
    for batch, following in itertools.pairwise([*batches, None]):
        assert len(batch) * lengths[batch].max() <= 100
        if following is not None:  # no further sequence would fit
            assert (len(batch) + 1) * max(lengths[batch].max(), lengths[following[0]]) > 100
    assert [len(batch) for batch in length_batches(order, lengths, 1)] == [1] * 100
    assert list(length_batches(order[:0], lengths, 100)) == []
