from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import SENT
from reluformer.ops import int8
from reluformer.translation import decode, graphs
from reluformer.translation.decode import each, ready, search_on, translate
from reluformer.translation.search import n_best_search


def test_translations_come_in_the_order_of_the_sources_whatever_the_batches(toy_model):
    model = toy_model(vocabulary=80)
    random = np.random.default_rng(1)
    sources = [random.integers(5, 80, random.integers(1, 12)).astype(np.uint16) for _ in range(50)]
    small = translate(model, sources, TranslationConfig(beam=3, batch_tokens=1))
    large = translate(model, sources, TranslationConfig(beam=3, batch_tokens=200))
    assert [h.tokens.tolist() for h in small] == [h.tokens.tolist() for h in large]
    assert len({tuple(h.tokens) for h in large}) > 40


def test_a_blank_source_has_a_blank_translation(toy_model):
    """Also of a document segment with as many sentences, separated by SENT."""
    model, random = toy_model(vocabulary=80), np.random.default_rng(1)
    sources = [random.integers(5, 80, 4) for _ in range(3)]
    mixed = [[], sources[0], [SENT, SENT], sources[1], np.array([], np.uint16), sources[2]]
    actual = [h.tokens.tolist() for h in translate(model, mixed, TranslationConfig(beam=3))]
    assert [actual[i] for i in (0, 2, 4)] == [[], [SENT, SENT], []]
    alone = translate(model, sources, TranslationConfig(beam=3))
    assert [actual[i] for i in (1, 3, 5)] == [h.tokens.tolist() for h in alone]
    assert [h.tokens.tolist() for h in translate(model, [[], []], TranslationConfig())] == [[], []]


def test_no_sources_no_translations(toy_model):
    assert translate(toy_model(vocabulary=10), [], TranslationConfig()) == []


def test_graphs_are_used_on_cuda_for_models_with_static_steps(make_model, toy_model, monkeypatch):
    monkeypatch.setattr(graphs, "GraphCapture", lambda device: None)
    monkeypatch.setattr(decode, "trusted", lambda path, device: path != "graphs" or trusted)
    trusted = True
    cuda = torch.device("cuda")

    def chosen(device, model, **settings):
        return search_on(torch.device(device), model, TranslationConfig(**settings), 1).func

    assert chosen(cuda, make_model("reluformer")) is decode.first_trusted
    assert chosen(cuda, make_model("attention-sparsemax")) is n_best_search
    assert chosen(cuda, toy_model(vocabulary=10)) is n_best_search
    assert chosen("cpu", make_model("reluformer")) is n_best_search
    assert chosen(cuda, make_model("reluformer"), graphs=False) is n_best_search
    trusted = False
    assert chosen(cuda, make_model("reluformer")) is n_best_search
    trusted = True
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    assert chosen(cuda, make_model("reluformer")) is n_best_search


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16)])
def test_the_precision_applies_to_the_weights_only_on_cuda(make_model, precision, dtype):
    config = TranslationConfig(precision=precision)
    on_cuda, on_cpu = make_model("reluformer"), make_model("reluformer")
    ready(on_cuda, config, "cuda")
    ready(on_cpu, config, "cpu")
    assert {weight.dtype for weight in on_cuda.parameters()} == {dtype}
    assert {weight.dtype for weight in on_cpu.parameters()} == {torch.float32}


@pytest.mark.skipif(not int8.AVAILABLE, reason="this torch has no oneDNN")
def test_int8_translates_nearly_the_same_in_batches_of_any_size(make_model):
    model, exact = make_model("reluformer"), make_model("reluformer")
    random = np.random.default_rng(1)
    sources = [random.integers(5, 40, random.integers(1, 12)).astype(np.uint16) for _ in range(30)]
    config = TranslationConfig(beam=3, precision="int8")
    ready(model, config, "cpu")
    fp32 = np.array([hypothesis.score for hypothesis in translate(exact, sources, TranslationConfig(beam=3))])
    for tokens in (1, 400):
        quantised = translate(model, sources, config.model_copy(update={"batch_tokens": tokens}))
        differences = np.abs([hypothesis.score for hypothesis in quantised] - fp32)
        assert differences.mean() < 0.06 and differences.max() < 0.3  # nats per token, for a model with random weights


def test_int8_is_for_a_cpu_with_onednn(make_model, monkeypatch):
    config = TranslationConfig(precision="int8")
    with pytest.raises(SettingsError, match=r"^translation: precision: int8: int8 is for a CPU, not for cuda$"):
        ready(make_model("reluformer"), config, "cuda")
    monkeypatch.setattr(int8, "AVAILABLE", False)
    with pytest.raises(SettingsError, match=r"^translation: precision: int8: this torch has no oneDNN$"):
        ready(make_model("reluformer"), config, "cpu")


def test_several_threads_translate_separate_batches_with_the_same_results(make_model):
    model = make_model("reluformer")
    random = np.random.default_rng(1)
    sources = [random.integers(5, 40, random.integers(1, 12)).astype(np.uint16) for _ in range(30)]
    config = TranslationConfig(beam=3, batch_tokens=40)
    alone = translate(model, sources, config)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = translate(model, sources, config)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert [(h.tokens.tolist(), h.score) for h in together] == [(h.tokens.tolist(), h.score) for h in alone]


def test_batches_are_searched_in_parallel_and_a_failure_restores_the_thread_count():
    barrier = threading.Barrier(2, timeout=600)

    def search(batch):
        if len(batch) == 1:
            raise ValueError("broken")
        barrier.wait()
        return torch.get_num_threads()

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(each(search, [np.arange(2), np.arange(3)], "cpu")) == [1, 1]
        with pytest.raises(ValueError, match="broken"):
            list(each(search, [np.arange(1), np.arange(1)], "cpu"))
        assert torch.get_num_threads() == 2
        assert list(each(lambda batch: torch.get_num_threads(), [np.arange(1)], "cpu")) == [2]
    finally:
        torch.set_num_threads(threads)
