"""The search with CUDA graphs gives the same results as the search without them on the same GPU.

`tests/unit/translation` tests the search with fixed shapes on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from reluformer.config.memory import MemoryConfig
from reluformer.config.model import ModelConfig
from reluformer.config.settings import SettingsError
from reluformer.config.systems import SystemConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import EOS, PAD
from reluformer.model.transformer import Transformer
from reluformer.translation.decode import ready, search_on, translate, translate_n_best
from reluformer.translation.graphs import GraphBuckets, GraphCapture, graph_search
from reluformer.translation.search import n_best_search

pytestmark = pytest.mark.gpu

SYSTEMS = yaml.safe_load((Path(__file__).parents[2] / "config" / "systems.yaml").read_text(encoding="utf-8"))
STATIC = [name for name in SYSTEMS if name not in ("attention-sparsemax", "attention-entmax15")]
CUDA = torch.device("cuda")
VOCABULARY = 300


@pytest.fixture(autouse=True)
def _exact_matmul(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


class Counted(GraphCapture):
    """Counts captured graphs and their replays."""

    def __init__(self):
        super().__init__(CUDA)
        self.captured = self.replayed = 0

    def capture(self, step):
        self.captured += 1
        replay = super().capture(step)

        def counted():
            self.replayed += 1
            replay()

        return counted


def build(system="reluformer", **changes):
    shape = {"encoder_layers": 2, "decoder_layers": 2, "width": 64, "heads": 4, "slots": 96, "vocabulary": VOCABULARY}
    torch.manual_seed(5)
    model = Transformer(ModelConfig(**{**shape, **SystemConfig(**SYSTEMS[system]).memories(), **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval().to(CUDA)


def batch(count=60, longest=50, seed=0):
    random = np.random.default_rng(seed)
    lengths = torch.from_numpy(random.integers(1, longest, count))
    src = torch.from_numpy(random.integers(5, VOCABULARY, (count, int(lengths.max()) + 1)))
    places = torch.arange(src.size(1))
    src[places == lengths[:, None]] = EOS
    mask = places <= lengths[:, None]
    return src.masked_fill(~mask, PAD).to(CUDA), mask.to(CUDA)


def agree(actual, expected, tolerance=1e-3, share=0.98):
    """Asserts equal scores, and equal tokens except for ties that rounding decides."""
    same = 0
    for ours, reference in zip(actual, expected, strict=True):
        assert [h.score for h in ours] == pytest.approx([h.score for h in reference], abs=tolerance)
        same += [h.tokens.tolist() for h in ours] == [h.tokens.tolist() for h in reference]
    assert same >= share * len(expected)


@pytest.mark.parametrize("beam", [1, 4, 5])
@pytest.mark.parametrize("name", [*STATIC, "learned"])
def test_graphs_give_the_same_translations_and_serve_later_batches(name, beam):
    learned = dict.fromkeys(
        ("decoder_attention", "cross_attention"), MemoryConfig(activation="relu-scaled", options={"gamma": "learned"})
    )
    model = build("reluformer", **learned) if name == "learned" else build(name)
    assert model.static
    capture = Counted()
    buckets, config = GraphBuckets(CUDA, capture), TranslationConfig(beam=beam)
    for seed in (0, 1, 0):
        before = capture.captured, capture.replayed
        actual = graph_search(model, *batch(seed=seed), config, min(beam, 2), buckets)
        agree(actual, n_best_search(model, *batch(seed=seed), config, min(beam, 2)))
    assert capture.captured - before[0] <= 2  # only slices that the first batch called just once
    assert capture.replayed - before[1] > 20


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", STATIC)
def test_half_precision_by_graphs_is_near_half_precision_without_and_fp32(name, precision):
    model, config = build(name), TranslationConfig(beam=4, precision=precision)
    exact = n_best_search(model, *batch(), config, 1)
    ready(model, config, CUDA)
    assert model.embeddings.target.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    actual = graph_search(model, *batch(), config, 1, GraphBuckets(CUDA, GraphCapture(CUDA)))
    without = n_best_search(model, *batch(), config, 1)
    scores, plain, wide = (np.array([n_best[0].score for n_best in results]) for results in (actual, without, exact))
    assert np.abs(scores - plain).mean() < 0.1 and np.abs(scores - wide).mean() < 0.1


def test_the_public_functions_use_graphs_on_a_gpu_and_reuse_them():
    model, config = build(), TranslationConfig(beam=4, batch_tokens=600)
    sources = [np.arange(5, 5 + n) for n in (40, 3, 17, 9, 25, 1)] * 8
    assert search_on(CUDA, model, config, 1).func is graph_search
    assert search_on(CUDA, build("attention-entmax15"), config, 1).func is n_best_search
    with torch.autocast("cuda", torch.bfloat16):
        assert search_on(CUDA, model, config, 1).func is n_best_search
    first = translate(model, sources, config, CUDA)
    again = translate_n_best(model, sources, config, 1, CUDA)
    assert [h.tokens.tolist() for h in first] == [actual[0].tokens.tolist() for actual in again]


def test_graphs_follow_weights_that_change_in_place_or_move():
    model, config = build(), TranslationConfig(beam=4)
    for change in (lambda: None, lambda: model.embeddings.target.data.mul_(1.3), model.double):
        change()
        search = search_on(CUDA, model, config, 1)
        for _ in range(2):
            agree(search(*batch(seed=3)), n_best_search(model, *batch(seed=3), config, 1))


def test_a_broken_model_is_reported_and_its_bucket_stays_usable():
    model, config = build("transformer"), TranslationConfig(beam=4)
    buckets = GraphBuckets(CUDA, GraphCapture(CUDA))
    expected = graph_search(model, *batch(), config, 1, buckets)
    embedded = model.embeddings.target.data.clone()
    model.embeddings.target.data.fill_(torch.nan)
    with pytest.raises(SettingsError, match="predicts NaN or infinity"):
        graph_search(model, *batch(), config, 1, buckets)
    model.embeddings.target.data.copy_(embedded)
    agree(graph_search(model, *batch(), config, 1, buckets), expected, tolerance=1e-5)
