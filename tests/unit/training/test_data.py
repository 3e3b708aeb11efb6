"""A corpus and its loader; `meta` stands in for a GPU: it computes nothing, but a thread prepares its updates."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from reluformer.config.settings import SettingsError
from reluformer.corpus.batches import BatchSampler, collate
from reluformer.corpus.store import Store
from reluformer.training.data import PrefetchLoader, open_data

DEVICES = [torch.device("cpu"), torch.device("meta")]


def test_opens_the_corpus_with_its_fingerprints(corpora, toy_run):
    data = open_data(corpora, toy_run)
    assert len(data.train) == 400 and len(data.valid) == 40
    assert "toy/subword.model" in data.files and "toy/store/train/src.ids" in data.files
    assert all(len(digest) == 64 for digest in data.files.values())
    assert open_data(corpora, toy_run).files == data.files


def test_the_longest_sequence_has_its_end(corpora, toy_run):
    data = open_data(corpora, toy_run)
    lengths = [store.src(i).size for store in (data.train, data.valid) for i in range(len(store))]
    assert data.longest == max(lengths) + 1 == 12  # targets and sources have equal lengths


def test_a_corpus_that_is_not_prepared(tmp_path, toy_run):
    with pytest.raises(SettingsError, match="the corpus of toy is not prepared"):
        open_data(tmp_path, toy_run)


@pytest.fixture
def store(corpora):
    return Store(corpora / "toy" / "store" / "train")


@pytest.fixture
def make_loader(store):
    """`make_loader(device)` returns a loader, whose thread is ended after the test."""
    loaders = []

    def make(device, store=store):
        sampler = BatchSampler(store.src_lengths, store.tgt_lengths, batch_tokens=200, seed=3, accumulation=2)
        loaders.append(PrefetchLoader(sampler, store, device))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def described(update):
    """Returns everything about an update except its tokens."""
    return [[x.shape for batch in update.micro for x in batch], *update[1:]]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_an_update_is_what_the_sampler_says(make_loader, store):
    plain = BatchSampler(store.src_lengths, store.tgt_lengths, batch_tokens=200, seed=3, accumulation=2)
    for expected, update in zip((next(plain) for _ in range(30)), make_loader(torch.device("cpu")), strict=False):
        assert (update.target_tokens, update.epoch) == (expected.target_tokens, expected.epoch)
        batches = [collate(store, indices) for indices in expected.micro]
        for batch, arrays in zip(update.micro, batches, strict=True):
            assert all(np.array_equal(x, array) for x, array in zip(batch, arrays, strict=True))
            assert batch.tgt_mask.flatten()[batch.real].all() and len(batch.real) == batch.tgt_mask.sum()
        assert update.positions == sum(batch.src.size + batch.tgt_in.size for batch in batches)
        assert update.filled == sum(int(batch.src_mask.sum() + batch.tgt_mask.sum()) for batch in batches)


def test_the_thread_makes_the_same_updates(make_loader):
    inline, ahead = (make_loader(device) for device in DEVICES)
    for _ in range(30):
        expected, actual = next(inline), next(ahead)
        assert described(expected) == described(actual)
        assert {x.device.type for batch in actual.micro for x in batch} == {"meta"}
        assert inline.state_dict() == ahead.state_dict()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_state_is_that_of_the_last_update_returned(make_loader, device):
    loader, other = make_loader(device), make_loader(device)
    for _ in range(20):
        next(loader)
    state = loader.state_dict()
    next(other)
    other.load_state_dict(state)
    assert other.state_dict() == state
    for _ in range(20):
        assert described(next(loader)) == described(next(other))
    loader.close()
    other.close()
    assert described(next(loader)) == described(next(other))


def test_nothing_is_left_of_a_closed_loader(make_loader):
    loader = make_loader(torch.device("meta"))
    assert not threads()
    next(loader)
    assert len(threads()) == 1
    loader.close()
    assert not threads()
    loader.close()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_error_is_raised_where_its_update_would_have_been(make_loader, store, device, monkeypatch):
    calls = []

    def broken(store, indices):
        calls.append(indices)
        if len(calls) > 6:
            raise MemoryError("no room for batch 7")
        return collate(store, indices)

    monkeypatch.setattr("reluformer.training.data.collate", broken)
    loader = make_loader(device)
    for _ in range(3):
        next(loader)
    state = loader.state_dict()
    with pytest.raises(MemoryError, match="batch 7"):
        next(loader)
    assert loader.state_dict() == state
    loader.close()
    assert not threads()
