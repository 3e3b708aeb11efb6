from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.translation.conftest import TRIED

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS, EOS, PAD
from reluformer.ops import beam
from reluformer.ops.linear import pack
from reluformer.translation.search import few_moves, length_limits, n_best_search, top


def growing_search(model, src, src_mask, config):
    return [hypotheses[0] for hypotheses in n_best_search(model, src, src_mask, config, 1)]


def batch(*sources: list[int], pad_to: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = [len(source) + 1 for source in sources]
    src = torch.full((len(sources), max(*lengths, pad_to)), PAD)
    for row, source in enumerate(sources):
        src[row, : lengths[row]] = torch.tensor([*source, EOS])
    return src, torch.arange(src.shape[1]) < torch.tensor(lengths)[:, None]


def log_probability(model, source: list[int], tokens: tuple[int, ...]) -> float:
    """Computes Σ log p of a finished hypothesis, one token at a time."""
    state = model.start(*batch(source))
    total, previous = 0.0, BOS
    for token in (*tokens, EOS):
        total += model.step(torch.tensor([previous]), state)[0].log_softmax(0)[token].item()
        previous = token
    return total


def exhaustive(model, source: list[int], vocabulary: int, limit: int, penalty: float) -> tuple[float, tuple[int, ...]]:
    words = [token for token in range(vocabulary) if token not in (PAD, BOS, EOS)]
    return max(
        (log_probability(model, source, tokens) / (length + 1) ** penalty, tokens)
        for length in range(1, limit + 1)
        for tokens in itertools.product(words, repeat=length)
    )


def greedy(model, source: list[int], limit: int) -> list[int]:
    state, tokens = model.start(*batch(source)), [BOS]
    while len(tokens) <= limit:
        logits = model.step(torch.tensor(tokens[-1:]), state)[0]
        logits[[PAD, BOS, EOS] if len(tokens) == 1 else [PAD, BOS]] = -torch.inf
        if logits.argmax() == EOS:
            break
        tokens.append(int(logits.argmax()))
    return tokens[1:]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_as_large_as_the_space_is_exact(toy_model, seed, penalty, beam_search):
    model = toy_model(vocabulary=7, seed=seed)
    config = TranslationConfig(beam=4**3, length_penalty=penalty, max_ratio=0.01, max_extra=3)
    sources = [[5, 6], [6], [5, 5, 6]]
    for source, actual in zip(sources, beam_search(model, *batch(*sources), config), strict=True):
        score, tokens = exhaustive(model, source, 7, limit=3, penalty=penalty)
        assert tuple(actual.tokens) == tokens
        assert actual.score == pytest.approx(score, abs=1e-5)


def test_a_beam_of_one_is_greedy(toy_model, beam_search):
    model = toy_model(vocabulary=300)
    model.table[:, EOS] += 5  # ends after a few tokens
    config = TranslationConfig(beam=1, max_ratio=1, max_extra=8)
    sources = [[7 + i] * (1 + i % 9) for i in range(60)]
    actual = beam_search(model, *batch(*sources), config)
    expected = [greedy(model, source, limit=len(source) + 8) for source in sources]
    assert [list(hypothesis.tokens) for hypothesis in actual] == expected
    assert len({len(tokens) for tokens in expected}) > 5


@pytest.mark.parametrize("beam", [2, 5])
def test_the_score_is_the_normalised_log_probability_of_the_tokens(toy_model, beam, beam_search):
    model = toy_model(vocabulary=50)
    config = TranslationConfig(beam=beam, length_penalty=0.7)
    sources = [[7, 8, 9], [10] * 6, [20]]
    for source, actual in zip(sources, beam_search(model, *batch(*sources), config), strict=True):
        expected = log_probability(model, source, tuple(actual.tokens)) / (len(actual.tokens) + 1) ** 0.7
        assert actual.score == pytest.approx(expected, abs=1e-5)


def reference(model, source: list[int], config: TranslationConfig) -> list[tuple[list[int], float]]:
    """Returns all finished hypotheses, best first, by fairseq's rules, without early stopping or caches."""
    limit = int(length_limits(torch.tensor([len(source)]), config)[0])
    live, finished = [((), 0.0)], []
    for length in range(limit + 1):
        options = []
        for tokens, total in live:
            state = model.start(*batch(source))
            for token in (BOS, *tokens):
                logits = model.step(torch.tensor([token]), state)[0]
            log_p = logits.log_softmax(0).tolist()
            allowed = [EOS] if length == limit else [t for t in range(len(log_p)) if t not in (PAD, BOS)]
            options += [((*tokens, t), total + log_p[t]) for t in allowed if length or t != EOS]
        options = sorted(options, key=lambda option: -option[1])[: 2 * config.beam]
        finished += [(o[:-1], s / len(o) ** config.length_penalty) for o, s in options[: config.beam] if o[-1] == EOS]
        if len(finished) >= config.beam:
            break
        live = [(o, s) for o, s in options if o[-1] != EOS][: config.beam]
    return [(list(tokens), score) for tokens, score in sorted(finished, key=lambda hypothesis: -hypothesis[1])]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("beam", [2, 3, 5])
def test_the_search_is_fairseqs(toy_model, beam, penalty, beam_search):
    model = toy_model(vocabulary=20, seed=beam)
    config = TranslationConfig(beam=beam, length_penalty=penalty, max_ratio=1.0, max_extra=4)
    sources = [[5 + i % 15] * (1 + i % 5) for i in range(12)]
    for source, actual in zip(sources, beam_search(model, *batch(*sources), config), strict=True):
        tokens, score = reference(model, source, config)[0]
        assert (list(actual.tokens), actual.score) == (tokens, pytest.approx(score, abs=1e-5))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("n_best", [1, 3, 5])
def test_the_n_best_are_the_best_of_all_that_finish(toy_model, n_best, penalty, beam_search, n_best_search):
    model = toy_model(vocabulary=20, seed=7)
    model.table[:, EOS] += 2
    config = TranslationConfig(beam=5, length_penalty=penalty, max_ratio=1.0, max_extra=4)
    sources = [[5 + i % 15] * (1 + i % 5) for i in range(12)]
    best = beam_search(model, *batch(*sources), config)
    for source, single, actual in zip(
        sources, best, n_best_search(model, *batch(*sources), config, n_best), strict=True
    ):
        expected = reference(model, source, config)[:n_best]
        assert [list(hypothesis.tokens) for hypothesis in actual] == [tokens for tokens, _ in expected]
        assert [hypothesis.score for hypothesis in actual] == pytest.approx([score for _, score in expected], abs=1e-5)
        assert list(actual[0].tokens) == list(single.tokens)


def test_there_may_be_fewer_hypotheses_than_requested(toy_model, n_best_search):
    config = TranslationConfig(beam=5, max_ratio=0.01, max_extra=1)
    (actual,) = n_best_search(toy_model(vocabulary=7), *batch([5]), config, 5)
    assert {tuple(hypothesis.tokens) for hypothesis in actual} == {(1,), (4,), (5,), (6,)}  # all but PAD, BOS and EOS
    assert len(actual) == 4


def test_a_batch_gives_the_results_of_single_sentences_whatever_the_padding(toy_model, beam_search):
    model = toy_model(vocabulary=100)
    config = TranslationConfig(beam=4)
    sources = [[7 + i] * (1 + i % 7) for i in range(20)]
    together = beam_search(model, *batch(*sources, pad_to=30), config)
    for source, actual in zip(sources, together, strict=True):
        (alone,) = beam_search(model, *batch(source), config)
        assert np.array_equal(actual.tokens, alone.tokens)
        assert actual.score == pytest.approx(alone.score, abs=1e-6)


def test_finished_sentences_leave_the_batch_and_the_first_step_has_one_row_each(toy_model):
    model = toy_model(vocabulary=60)
    model.table[:, EOS] += 3
    growing_search(model, *batch(*[[7 + i] * 3 for i in range(30)]), TranslationConfig(beam=4, max_extra=30))
    assert model.rows[:2] == [30, 120]
    assert model.rows[1:] == sorted(model.rows[1:], reverse=True)
    assert 0 < model.rows[-1] < 60


def test_a_sentence_ends_as_soon_as_nothing_can_beat_its_best(toy_model, beam_search):
    model = toy_model(vocabulary=60)
    model.table[:, EOS] += 20  # the first hypothesis of two tokens has a probability near 1
    beam_search(model, *batch([7, 8]), TranslationConfig(beam=50, length_penalty=0, max_extra=30))
    assert len(model.rows) == 2


def test_no_hypothesis_is_empty_or_longer_than_its_limit(toy_model, beam_search):
    config = TranslationConfig(beam=3, max_ratio=1.5, max_extra=2)
    sources = [[9] * length for length in (1, 2, 3, 10)]
    never, at_once = toy_model(vocabulary=40), toy_model(vocabulary=40)
    never.table[:, EOS] = -1e4
    at_once.table[:, EOS] = 1e4
    assert [len(h.tokens) for h in beam_search(never, *batch(*sources), config)] == [3, 5, 6, 17]
    assert [len(h.tokens) for h in beam_search(at_once, *batch(*sources), config)] == [1, 1, 1, 1]
    for actual in beam_search(never, *batch(*sources), config) + beam_search(at_once, *batch(*sources), config):
        assert math.isfinite(actual.score)
        assert not {PAD, BOS, EOS} & set(actual.tokens.tolist())


def test_limits():
    config = TranslationConfig(max_ratio=0.5, max_extra=0)
    assert length_limits(torch.tensor([1, 3, 8]), config).tolist() == [1, 1, 4]


class WithoutCaches:
    """A Transformer for the search that recomputes everything at every step."""

    class Rows:
        def __init__(self, src, src_mask):
            self.src, self.src_mask, self.tokens = src, src_mask, torch.empty((len(src), 0), dtype=torch.long)

        def select(self, rows):
            self.src, self.src_mask, self.tokens = self.src[rows], self.src_mask[rows], self.tokens[rows]

    def __init__(self, model):
        self.model = model

    def start(self, src, src_mask):
        return self.Rows(src, src_mask)

    def step(self, tokens, state):
        state.tokens = torch.cat([state.tokens, tokens[:, None]], 1)
        mask = torch.ones_like(state.tokens, dtype=torch.bool)
        return self.model.project(self.model(state.src, state.src_mask, state.tokens, mask)[:, -1])


def every_system(test):
    """Runs a test on each system with the growing search and, alternately, one of the searches with fixed shapes."""
    fixed = itertools.cycle(["fixed", "captured"])
    pairs = [(search, system) for system in TRIED for search in ("growing", next(fixed))]
    return pytest.mark.parametrize(("n_best_search", "system"), pairs, indirect=True)(test)


@pytest.fixture
def sources():
    random = np.random.default_rng(2)
    return [random.integers(5, 40, length).tolist() for length in (4, 1, 6, 3)]


@every_system
def test_every_system_decodes_with_caches_as_with_full_recomputation(make_model, system, sources, beam_search):
    model = make_model(system)
    config = TranslationConfig(beam=4, max_ratio=1.2, max_extra=4)
    cached = beam_search(model, *batch(*sources), config)
    for actual, expected in zip(cached, growing_search(WithoutCaches(model), *batch(*sources), config), strict=True):
        assert actual.tokens.tolist() == expected.tokens.tolist()
        assert actual.score == pytest.approx(expected.score, abs=1e-4)
    assert len({tuple(actual.tokens) for actual in cached}) > 3


@every_system
def test_every_system_translates_a_sentence_alone_as_in_a_padded_batch(make_model, system, sources, beam_search):
    model = make_model(system)
    config = TranslationConfig(beam=3, max_ratio=1.2, max_extra=4)
    for source, actual in zip(sources, beam_search(model, *batch(*sources, pad_to=20), config), strict=True):
        (alone,) = beam_search(model, *batch(source), config)
        assert actual.tokens.tolist() == alone.tokens.tolist()
        assert actual.score == pytest.approx(alone.score, abs=1e-4)


@every_system
def test_a_beam_of_one_is_greedy_for_every_system(make_model, system, sources, beam_search):
    model = make_model(system)
    config = TranslationConfig(beam=1, max_ratio=1.2, max_extra=4)
    for source, actual in zip(sources, beam_search(model, *batch(*sources), config), strict=True):
        limit = int(length_limits(torch.tensor([len(source)]), config)[0])
        with torch.inference_mode():
            assert actual.tokens.tolist() == greedy(WithoutCaches(model), source, limit)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_model_is_a_clear_error(toy_model, value, beam_search):
    model = toy_model(vocabulary=40)
    model.table[:, 17] = value
    with pytest.raises(SettingsError, match="predicts NaN or infinity"):
        beam_search(model, *batch([7, 8]), TranslationConfig(beam=2))


@given(st.integers(1, 4), st.integers(1, 1500), st.integers(1, 20), st.integers(0, 99), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_top_is_topk(rows, width, k, seed, ties):
    values = torch.randn((rows, width), generator=torch.Generator().manual_seed(seed))
    if ties:
        values = values.round()
    values[:, ::3] = -torch.inf
    k = min(k, width)
    value, index = top(values, k)
    assert torch.equal(value, values.topk(k, 1).values)
    assert torch.equal(values.gather(1, index), value)
    assert all(len(set(row)) == k for row in index.tolist())


@pytest.mark.parametrize(
    ("alive", "order"),
    [("1111", [0, 1, 2, 3]), ("0111", [3, 1, 2]), ("1010110", [0, 4, 2, 5]), ("0001", [3]), ("000", [])],
)
def test_unfinished_sentences_keep_their_place_or_take_a_free_one(alive, order):
    assert few_moves(torch.tensor([letter == "1" for letter in alive])).tolist() == order


def test_without_a_compiler_the_search_is_the_same(toy_model, monkeypatch):
    model = toy_model(vocabulary=300)
    sources = [[7 + i] * (1 + i % 9) for i in range(40)]  # more rows than are processed at once
    config = TranslationConfig(beam=4)
    actual = growing_search(model, *batch(*sources), config)
    monkeypatch.setattr(beam, "library", lambda source: None)
    for ours, other in zip(actual, growing_search(model, *batch(*sources), config), strict=True):
        assert ours.tokens.tolist() == other.tokens.tolist()
        assert ours.score == pytest.approx(other.score, abs=1e-5)


def test_every_system_translates_the_same_with_packed_weights(make_model, system, sources):
    model = make_model(system)
    config = TranslationConfig(beam=4, max_extra=4)
    expected = growing_search(model, *batch(*sources), config)
    pack(model)
    for actual, plain in zip(growing_search(model, *batch(*sources), config), expected, strict=True):
        assert actual.tokens.tolist() == plain.tokens.tolist()
        assert actual.score == pytest.approx(plain.score, abs=1e-4)
