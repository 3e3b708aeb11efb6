"""Beam search with CUDA graphs: a step of fixed shapes is one launch instead of hundreds, and the host waits once.

A batch goes into a bucket, whose sizes are rounded up; the graphs captured there serve every later batch that fits. As
sentences finish, the remaining ones are compacted into a smaller slice of the bucket; as hypotheses grow, the slice
gets longer. All slices are views of the bucket's memory. The results equal those of `search.n_best_search` up to
rounding.

Shapes: N places for sentences, W beam size, T maximum tokens of a hypothesis, n hypotheses returned.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from reluformer.config.translation import TranslationConfig
from reluformer.corpus.subword import BOS
from reluformer.model.caches import StaticCache
from reluformer.model.example import ragged_batch, small_reluformer
from reluformer.model.transformer import Transformer
from reluformer.ops.paths import require_close
from reluformer.translation.search import (
    BrokenModelError,
    Hypothesis,
    NBest,
    best_continuations,
    best_of_rows,
    decide,
    done,
    end_all,
    few_moves,
    length_limits,
    n_best_search,
    of_sentence,
)

SOURCES, SOURCE_TOKENS, CAPACITY = 8, 16, 32
"""The smallest sizes of a bucket; all are multiples of 4."""
BUCKETS, BYTES = 32, 4 << 30
"""Maximum buckets of a model, and bytes of their keys and values; the one in use is never evicted."""


@dataclass(eq=False)
class Beam:
    """The state of a search, updated in place.

    t: scalar, tokens produced. alive: [N], whether a place holds a sentence that is still being searched. sentence:
    [N], the index of its source; the spare last row of `best` if there is none. limits, finished: [N], its length
    limit and its number of finished hypotheses. scores, last: [N, W], Σ log p (-inf if there are fewer than W) and the
    last token of its live hypotheses. tokens: [N, W, T]. best: of N + 1 sources. status: [2], the number of sentences
    alive, and whether the model predicted NaN or infinity for any of them.
    """

    t: Tensor
    alive: Tensor
    sentence: Tensor
    limits: Tensor
    finished: Tensor
    scores: Tensor
    last: Tensor
    tokens: Tensor
    best: NBest
    status: Tensor

    @classmethod
    def empty(cls, sources: int, width: int, capacity: int, n_best: int, device: torch.device) -> Beam:
        """Allocates a state for `sources`, `width` hypotheses of each, and `capacity` tokens."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return cls(
            t=zeros(),
            alive=zeros(sources, dtype=torch.bool),
            sentence=zeros(sources),
            limits=zeros(sources),
            finished=zeros(sources),
            scores=zeros(sources, width, dtype=torch.float32),
            last=zeros(sources, width),
            tokens=zeros(sources, width, capacity),
            best=NBest.empty(sources + 1, n_best, capacity, device),
            status=zeros(2),
        )

    def fill(self, limits: Tensor) -> None:
        """Resets the state to sources with these length limits, int [B <= N], each with one empty hypothesis."""
        sources = len(limits)
        for tensor in (self.t, self.finished, self.limits, self.tokens, self.best.length, self.best.tokens):
            tensor.zero_()
        self.limits[:sources] = limits
        self.last.fill_(BOS)
        self.scores.fill_(-torch.inf)
        self.scores[:, 0].zero_()
        self.best.score.fill_(-torch.inf)
        torch.arange(len(self.alive), out=self.sentence)
        self._end(sources)

    def narrow(self, sources: int, capacity: int) -> Beam:
        """Returns a view of the first `sources` places and the first `capacity` tokens."""
        by_place = ("alive", "sentence", "limits", "finished", "scores", "last")
        return replace(
            self,
            **{name: getattr(self, name)[:sources] for name in by_place},
            tokens=self.tokens[:sources, :, :capacity],
            best=replace(self.best, tokens=self.best.tokens[:, :, :capacity]),
        )

    def move(self, to: Tensor, origin: Tensor, alive: int) -> None:
        """Copies the sentences at `origin` [m] to `to` [m], then marks the first `alive` places as alive."""
        for tensor in (self.sentence, self.limits, self.finished, self.scores, self.last, self.tokens):
            tensor[to] = tensor[origin]
        self._end(alive)

    def _end(self, alive: int) -> None:
        self.alive[:alive].fill_(True)
        self.alive[alive:].fill_(False)
        self.sentence[alive:].fill_(len(self.best.score) - 1)


def search_step(model: Transformer, cache: StaticCache, beam: Beam, length_penalty: float) -> None:
    """Adds a token to every hypothesis; stores those that finish if they are among the best."""
    sentences, width = beam.scores.shape
    rows = best_of_rows(model.step(beam.last.flatten(), cache), 2 * width, beam.t == 0)
    sound = rows.value[:, 0].isfinite().view(sentences, width).all(1)
    broken = (beam.alive & ~sound).any()
    continuations = best_continuations(rows, beam.scores, 2 * width)
    continuations = end_all(continuations, rows.end, beam.scores, beam.limits == beam.t)
    step = decide(continuations, width, beam.t, length_penalty)

    ended = step.ended.masked_fill(~beam.alive[:, None], -torch.inf)
    beam.best.add(beam.sentence, ended, of_sentence(beam.tokens, continuations.parent[:, :width]), beam.t)
    beam.finished += step.ending
    worst = beam.best.score[beam.sentence, -1]
    beam.alive &= ~done(step, beam.finished, worst, beam.t, beam.limits, width, length_penalty)

    beam.scores.copy_(step.scores)
    beam.last.copy_(step.token)
    beam.tokens.copy_(of_sentence(beam.tokens, step.parent))
    beam.tokens.index_copy_(2, beam.t[None], beam.last[..., None])
    cache.reorder(step.parent)
    beam.t += 1
    beam.status.copy_(torch.stack([beam.alive.sum(), broken]))


class GraphCapture:
    """Captures CUDA graphs on one device; they share a pool for intermediate results."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)

    def warm_up(self, step: Callable[[], None]) -> None:
        """Runs a step on the capture stream, as captures require; kernels are autotuned here."""
        with torch.cuda.device(self.device):
            current = torch.cuda.current_stream()
            self.stream.wait_stream(current)
            with torch.cuda.stream(self.stream):
                step()
            current.wait_stream(self.stream)

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Captures a step and returns its replay. Raises RuntimeError if the step waits or cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            step()
        return graph.replay


class Slice:
    """A view of a bucket. Its step runs eagerly the first time, is captured the second, and replayed from then on.

    So no extra run is spent on warming up, and a step that is needed only once is not captured.
    """

    def __init__(self, cache: StaticCache, beam: Beam, capture: GraphCapture | None) -> None:
        self.cache = cache
        self.beam = beam
        self._capture = capture
        self._warm = False
        self._replay: Callable[[], None] | None = None

    def step(self, model: Transformer, length_penalty: float) -> None:
        """Runs `search_step`; every call must pass the same arguments."""
        step = partial(search_step, model, self.cache, self.beam, length_penalty)
        if self._capture is None:
            step()
        elif not self._warm:
            self._capture.warm_up(step)
            self._warm = True
        else:
            self._replay = self._replay or self._capture.capture(step)
            self._replay()

    def compact(self, alive: int) -> None:
        """Moves the `alive` remaining sentences to the first places."""
        order = few_moves(self.beam.alive)
        to = (order != torch.arange(alive, device=order.device)).nonzero().flatten()
        self.cache.move(to, order[to])
        self.beam.move(to, order[to], alive)


class Sizes(NamedTuple):
    """The sizes of a bucket, and the constants of its steps."""

    sources: int
    source_tokens: int
    capacity: int
    width: int
    length_penalty: float
    n_best: int


def round_up(number: int, least: int) -> int:
    """Returns `number` rounded up to `least` times 1, 1.5, 2, 3, 4, 6, 8, ..."""
    size = least
    while size < number:
        size *= 2
    return size // 4 * 3 if size > least and number <= size // 4 * 3 else size


class GraphBucket:
    """A model's cache and search state of one size, and their slices with captured graphs."""

    def __init__(self, model: Transformer, sizes: Sizes, device: torch.device, capture: GraphCapture | None) -> None:
        self.cache = model.static_cache(sizes.sources, sizes.width, sizes.source_tokens, sizes.capacity)
        self.beam = Beam.empty(sizes.sources, sizes.width, sizes.capacity, sizes.n_best, device)
        self.capture = capture
        self.slices: dict[tuple[int, int], Slice] = {}

    def slice(self, sources: int, capacity: int) -> Slice:
        """Returns the slice of the first `sources` places and `capacity` tokens, creating it if needed."""
        if (sources, capacity) not in self.slices:
            views = self.cache.narrow(sources, capacity), self.beam.narrow(sources, capacity)
            self.slices[sources, capacity] = Slice(*views, self.capture)
        return self.slices[sources, capacity]


class GraphBuckets:
    """The most recently used buckets of one model.

    capture: None runs every step eagerly. Graphs read the model's weights at the addresses they had at capture.
    """

    def __init__(self, device: torch.device, capture: GraphCapture | None) -> None:
        self.device = device
        self.capture = capture
        self.by_sizes: OrderedDict[Sizes, GraphBucket] = OrderedDict()

    def bucket(self, model: Transformer, sizes: Sizes) -> GraphBucket:
        """Returns the bucket of these sizes, creating it if needed; every call must pass the same model."""
        bucket = self.by_sizes.pop(sizes, None) or GraphBucket(model, sizes, self.device, self.capture)
        self.by_sizes[sizes] = bucket
        while len(self.by_sizes) > 1 and (len(self.by_sizes) > BUCKETS or self.nbytes > BYTES):
            self.by_sizes.popitem(last=False)
        return bucket

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(bucket.cache.nbytes for bucket in self.by_sizes.values())


_BUCKETS: WeakKeyDictionary[Transformer, tuple[tuple[int, ...], GraphBuckets]] = WeakKeyDictionary()


def buckets_of(model: Transformer, device: torch.device) -> GraphBuckets:
    """Returns a model's buckets on a device, which live as long as the model; new ones if its weights have moved."""
    weights = tuple(weight.data_ptr() for weight in model.parameters())
    entry = _BUCKETS.get(model)
    if entry is None or entry[0] != weights or entry[1].device != device:
        capture = GraphCapture(device) if device.type == "cuda" else None
        _BUCKETS[model] = entry = weights, GraphBuckets(device, capture)
    return entry[1]


@torch.inference_mode()
def graph_search(
    model: Transformer,
    src: Tensor,
    src_mask: Tensor,
    config: TranslationConfig,
    n_best: int,
    buckets: GraphBuckets,
) -> list[list[Hypothesis]]:
    """Same as `search.n_best_search`, with CUDA graphs; `buckets` are the model's."""
    limits = length_limits(src_mask.sum(1) - 1, config)
    sizes = Sizes(
        round_up(len(src), SOURCES),
        round_up(src.size(1), SOURCE_TOKENS),
        round_up(int(limits.max()) + 1, CAPACITY),
        config.beam,
        config.length_penalty,
        n_best,
    )
    bucket = buckets.bucket(model, sizes)
    model.fill(bucket.cache, src, src_mask)
    bucket.beam.fill(limits)
    t, alive, sources = 0, len(src), sizes.sources
    while alive:
        t += 1
        current = bucket.slice(sources, round_up(t, CAPACITY))
        current.step(model, config.length_penalty)
        alive, broken = current.beam.status.tolist()
        if broken:
            raise BrokenModelError
        if alive and (fewer := round_up(alive, SOURCES)) * 2 <= sources:
            current.compact(alive)
            sources = fewer
    return bucket.beam.best.hypotheses(len(src))


def prove(device: str) -> None:
    """Compares a small model's translations with and without graphs; a proof of `ops.paths`."""
    model, config = small_reluformer(device).eval(), TranslationConfig(beam=3)
    src, src_mask = ragged_batch(device)
    with torch.inference_mode():
        expected = n_best_search(model, src, src_mask, config, 2)
    for _ in range(3):  # eager, captured, replayed
        searched = graph_search(model, src, src_mask, config, 2, buckets_of(model, torch.device(device)))
        ours, reference = (torch.tensor([[h.score for h in n] for n in each]) for each in (searched, expected))
        require_close("the scores of translations", ours, reference, 1e-4)
