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

from reluformer.corpus.config import ArchiveConfig, CorpusConfig
from reluformer.corpus.pack import pack
from reluformer.corpus.prepare import prepare
from reluformer.corpus.subword import Subword
from reluformer.experiment import SystemConfig
from reluformer.model.config import ModelConfig
from reluformer.model.files import save_model
from reluformer.model.transformer import Transformer
from reluformer.run import RunConfig
from reluformer.training.config import TrainingConfig
from reluformer.translation.config import TranslationConfig


@dataclass
class ToyState:
    context: Tensor  # [R], stands for the source and every token so far

    def select(self, rows: Tensor) -> None:
        self.context = self.context[rows]


class ToyModel:
    """A random distribution for every source and every prefix: nothing a search could do right by luck.

    `rows` and `steps` count what the search asked for.
    """

    CONTEXTS = 9973

    def __init__(self, vocabulary: int, seed: int = 0, spread: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn((self.CONTEXTS, vocabulary), generator=generator) * spread
        self.rows: list[int] = []

    def start(self, src: Tensor, src_mask: Tensor) -> ToyState:
        place = torch.arange(1, src.shape[1] + 1)
        return ToyState((src * place * 7 * src_mask).sum(1) % self.CONTEXTS)

    def step(self, tokens: Tensor, state: ToyState) -> Tensor:
        assert tokens.shape == state.context.shape
        self.rows.append(len(tokens))
        state.context = (state.context * 31 + tokens * 97 + 1) % self.CONTEXTS
        return self.table[state.context].clone()


@pytest.fixture
def toy_model() -> type[ToyModel]:
    return ToyModel


SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))


def build(system: str, vocabulary: int = 40, **changes: Any) -> Transformer:
    """A small model of one system with parameters far enough from their start that predictions differ."""
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


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> str:
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
    """A prepared corpus, with a view of segments, and what its runs are made of."""

    corpora: Path
    results: Path

    def run(self, dataset: str, model: Transformer | None, status: str = "finished") -> Path:
        """A run's folder as training leaves it."""
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
