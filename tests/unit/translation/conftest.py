from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reluformer.config.dataset import ArchiveConfig, CorpusConfig
from reluformer.config.model import ModelConfig
from reluformer.config.run import RunConfig
from reluformer.config.systems import SystemConfig
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.pack import pack
from reluformer.corpus.prepare import prepare
from reluformer.corpus.subword import Subword
from reluformer.model.files import save_model
from reluformer.model.transformer import Transformer
from reluformer.translation.graphs import GraphBuckets, graph_search
from reluformer.translation.search import Hypothesis
from reluformer.translation.search import n_best_search as growing_search


@dataclass
class ToyCache:
    context: Tensor  # [R], encodes the source and all tokens so far

    def select(self, rows: Tensor) -> None:
        self.context = self.context[rows]


@dataclass
class ToyStaticCache:
    context: Tensor  # [N, W], the same for a search with fixed shapes

    @property
    def nbytes(self) -> int:
        return self.context.nbytes

    def narrow(self, sources: int, capacity: int) -> ToyStaticCache:
        return ToyStaticCache(self.context[:sources])

    def move(self, to: Tensor, origin: Tensor) -> None:
        self.context[to] = self.context[origin]

    def reorder(self, rows: Tensor) -> None:
        self.context.copy_(self.context.gather(1, rows))


class ToyModel:
    """A random distribution for every source and every prefix, so no search is right by luck.

    `rows` lists the number of rows of each step.
    """

    CONTEXTS = 9973

    def __init__(self, vocabulary: int, seed: int = 0, spread: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn((self.CONTEXTS, vocabulary), generator=generator) * spread
        self.rows: list[int] = []

    def start(self, src: Tensor, src_mask: Tensor) -> ToyCache:
        place = torch.arange(1, src.shape[1] + 1)
        return ToyCache((src * place * 7 * src_mask).sum(1) % self.CONTEXTS)

    def static_cache(self, sources: int, width: int, source_tokens: int, capacity: int) -> ToyStaticCache:
        return ToyStaticCache(torch.zeros((sources, width), dtype=torch.long))

    def fill(self, cache: ToyStaticCache, src: Tensor, src_mask: Tensor) -> None:
        cache.context[: len(src)] = self.start(src, src_mask).context[:, None]

    def step(self, tokens: Tensor, cache: ToyCache | ToyStaticCache) -> Tensor:
        assert len(tokens) == cache.context.numel()
        self.rows.append(len(tokens))
        cache.context.copy_((cache.context * 31 + tokens.view_as(cache.context) * 97 + 1) % self.CONTEXTS)
        return self.table[cache.context.flatten()].clone()


@pytest.fixture
def toy_model() -> type[ToyModel]:
    return ToyModel


Step = Callable[[], None]


class Tape(TorchDispatchMode):
    """A CUDA graph on a CPU: records every tensor operation and replays it on the same memory.

    An operation that makes the host wait for its result is an error.
    """

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal")

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        with self:
            step()
        self.fresh = True  # unlike a graph, it also ran what it captured

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function._schema.name.removeprefix("aten::") not in self.WAITS, function
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        if not self.fresh:
            for function, args, kwargs, result in self.calls:
                for old, new in zip(tree_leaves(result), tree_leaves(function(*args, **kwargs)), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)
        self.fresh = False


class Tapes:
    """A `GraphCapture` for tests that counts warm-up steps and captured steps."""

    def __init__(self) -> None:
        self.run = self.captured = 0

    def warm_up(self, step: Step) -> None:
        self.run += 1
        step()

    def capture(self, step: Step) -> Step:
        self.captured += 1
        return Tape(step).replay


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Tapes:
    """Captures steps whose reads are plain torch, as a tape records nothing else."""
    monkeypatch.setenv("RELUFORMER_KERNEL", "tiled")
    return Tapes()


Search = Callable[..., list[list[Hypothesis]]]


@pytest.fixture(params=["growing", "fixed", "captured"])
def n_best_search(request: pytest.FixtureRequest) -> Search:
    """The search on a CPU, with growing caches, with fixed shapes, and with captured steps if the model allows it."""
    if request.param == "growing":
        return growing_search
    capture = request.getfixturevalue("tapes") if request.param == "captured" else None
    buckets: dict[int, GraphBuckets] = {}

    def search(model: Any, src: Tensor, src_mask: Tensor, config: TranslationConfig, n_best: int) -> Any:
        usable = capture if getattr(model, "static", True) else None
        own = buckets.setdefault(id(model), GraphBuckets(torch.device("cpu"), usable))
        return graph_search(model, src, src_mask, config, n_best, own)

    return search


@pytest.fixture
def beam_search(n_best_search: Search) -> Callable[..., list[Hypothesis]]:
    """Returns a search for the best hypothesis of each source."""
    return lambda model, *batch: [hypotheses[0] for hypotheses in n_best_search(model, *batch, 1)]


SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))


def build(system: str, vocabulary: int = 40, **changes: Any) -> Transformer:
    """Builds a small model of a system, with parameters perturbed enough for predictions to differ."""
    small = {"encoder_layers": 2, "decoder_layers": 2, "width": 24, "heads": 3, "slots": 32, "vocabulary": vocabulary}
    torch.manual_seed(5)
    model = Transformer(ModelConfig(**{**small, **SystemConfig(**SYSTEMS[system]).memories(), **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model.eval()


@pytest.fixture
def make_model() -> Callable[..., Transformer]:
    return build


ALIKE = {"relu-length", "relu-squared", "relu-shifted", "softpick", "softplus", "rela-i"}
TRIED = [name for name in SYSTEMS if name == "reluformer-cross" or ("reluformer-" not in name and name not in ALIKE)]
"""Every system, but only one of those with ReLU in some attentions, and of those that a search reads alike."""


@pytest.fixture(params=TRIED)
def system(request: pytest.FixtureRequest) -> str:
    """Each of `TRIED`."""
    return request.param


WORDS = [
    "der",
    "die",
    "das",
    "rote",
    "blaue",
    "alte",
    "Hund",
    "Katze",
    "Haus",
    "Baum",
    "sieht",
    "findet",
    "mag",
    "nicht",
]


class Experiment(NamedTuple):
    """A prepared corpus with a view of segments, and a folder for its runs."""

    corpora: Path
    results: Path

    def run(self, dataset: str, model: Transformer | None, status: str = "finished") -> Path:
        """Writes a run's folder as training does."""
        vocabulary = len(Subword(self.corpora / "toy" / "subword.model"))
        model = build("reluformer", vocabulary) if model is None else model
        folder = self.results / dataset / "reluformer" / f"seed{len(list(self.results.rglob('summary.json')))}"
        folder.mkdir(parents=True)
        translation = TranslationConfig(beam=3, max_ratio=1.0, max_extra=2)
        RunConfig(
            dataset=dataset,
            system="reluformer",
            seed=1,
            src="de",
            tgt="en",
            model=model.config,
            training=TrainingConfig(),
            translation=translation,
        ).save(folder / "config.yaml")
        save_model(model, folder / "model.safetensors")
        (folder / "summary.json").write_text(json.dumps({"status": status}))
        return folder


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("experiment")
    random = np.random.default_rng(0)
    files = {}
    for split, documents in (("train", 60), ("valid", 2), ("test", 5)):
        lines = []
        for _ in range(documents):
            lines.append("<d>")
            lines += [
                " ".join(random.choice(WORDS, random.integers(3, 8))).capitalize() + "."
                for _ in range(random.integers(2, 6))
            ]
        for side in ("src", "tgt"):
            files[split, side] = folder / f"{split}.{side}"
            files[split, side].write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = CorpusConfig(
        reader="lines",
        archives=[ArchiveConfig(name=path.name) for path in files.values()],
        files={split: {side: f"{split}.{side}" for side in ("src", "tgt")} for split in ("train", "valid", "test")},
        document_mark="<d>",
        documents=True,
        truecase=True,
        vocabulary=70,
        segments={"lengths": [32]},
    )
    corpora = folder / "corpora"
    prepare(config, "de", "en", list(files.values()), corpora / "toy", workers=1)
    pack(config, "de", "en", corpora / "toy", "within", 32)
    return Experiment(corpora, folder / "runs")
