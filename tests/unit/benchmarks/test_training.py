"""The synthetic data, counts and contests of the training benchmark."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks import text, training

SYSTEMS = ["transformer", "reluformer"]


def test_made_up_lengths_are_those_of_iwslt():
    src, tgt = text.lengths(20_000)
    assert tgt.mean() == pytest.approx(23, abs=0.5) and np.median(tgt) == pytest.approx(19, abs=1)
    assert np.corrcoef(src, tgt)[0, 1] == pytest.approx(0.93, abs=0.03) and src.min() >= 1 and tgt.max() <= 175


def test_a_made_up_store_has_the_lengths_that_were_asked_for(tmp_path):
    store = text.write_corpus(tmp_path, "x", 50, (np.full(12, 8), np.full(12, 8)))
    assert store.src_lengths.tolist() == store.tgt_lengths.tolist() == [8] * 12
    assert min(store.src(0)) >= text.SPECIAL and max(store.src(0)) < 50


def test_padding_is_counted_with_the_ends_of_sentences():
    src, tgt = np.array([1, 3]), np.array([2, 2])
    assert training.padded_share(src, tgt, [np.array([0, 1])]) == pytest.approx(2 / 14)
    assert training.padded_share(src, tgt, [np.array([0]), np.array([1])]) == 0


def test_our_batches_are_padded_less_than_the_limit():
    limit, usual = training.padding()
    assert limit.met and usual.ratio > 1


def test_a_contest_is_decided_update_by_update(tmp_path, monkeypatch):
    """A worker that is always a tenth faster gets the ratio 1.1, although one of its updates was disturbed."""
    shape = training.Shape(1, 32, 32, tokens=64, length=9, rounds=5)

    def add(self, system):
        seconds = lambda index: 1.0 + index  # noqa: E731
        faster = {"reluformer": lambda index: seconds(index) * (9.0 if index == 2 else 1 / 1.1)}
        self._updates[system] = faster.get(system, seconds)

    monkeypatch.setattr(training.Contest, "add_ours", add)
    (compared,) = training.against_transformer("IWSLT lengths", training.Contest(shape, tmp_path), SYSTEMS, 1.0)
    assert compared.ratio == pytest.approx(1.1) and compared.met and compared.spread == pytest.approx(0, abs=1e-9)
    assert compared.peer == "our transformer" and compared.unit == "tokens/s"


def test_on_a_gpu_ours_is_measured_with_and_without_compile(tmp_path, monkeypatch):
    """The compiled worker is a fifth faster on a GPU; on a CPU there is none."""
    shape = training.Shape(1, 32, 32, tokens=64, length=9, rounds=5)
    monkeypatch.setattr(training, "GPU_TOKENS", 64)

    def add(self, name, system, compiled):
        assert system == name.removesuffix(", compiled") and compiled == (system != name)
        self._updates[name] = lambda index: 1.0 if compiled else 1.2

    monkeypatch.setattr(training.Contest, "_add_ours", add)
    monkeypatch.setattr(training, "matmul_peak", lambda *_: 1e12)
    for there, names in ((False, []), (True, ["transformer", "reluformer"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        rows = list(training.against_transformer("IWSLT lengths", training.Contest(shape, tmp_path), SYSTEMS, 1.0))
        assert [row.name for row in rows[1:]] == [f"training at IWSLT lengths: {name}, compiled" for name in names]
        rows = [rows[-1], training.against_peers("small", training.Contest(shape, tmp_path), "transformer", [])[0]]
        for row in rows if there else []:
            assert "compiled" in row.name and row.ratio == pytest.approx(1.2) and row.target is None
            assert row.peer.startswith("our ") and "compiled" not in row.peer


@pytest.mark.slow
def test_memory_is_that_of_our_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "GROWTH", training.Shape(1, 32, 32, tokens=64))
    (row,) = training.memory_growth(tmp_path, early=2, late=4)
    assert 100 < row.theirs <= row.ours and row.unit == "MB" and row.less
