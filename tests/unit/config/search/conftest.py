"""A small experiment with tuning, and results with synthetic scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.search import Point, Search, replay
from reluformer.config.settings import merge
from reluformer.files import write_json

CONFIG = Path(__file__).parents[4] / "config"
CORPUS = {
    "reader": "lines",
    "archives": [{"name": "text.de"}, {"name": "text.en"}],
    "held_out": {"valid": 0.1, "test": 0.1},
    "files": {"train": {"src": "text.de", "tgt": "text.en"}},
}
PAIRS = {
    "title": "Pairs",
    "src": "de",
    "tgt": "en",
    "corpus": CORPUS,
    "training": {"learning_rate": 0.001},
    "recipes": {
        "tuning": {"training": {"updates": 10, "validate_bleu": True}},
        "sweep": {"training": {"updates": 20}},
    },
}
SEGMENTS = {"documents": True, "document_mark": "<d>", "segments": {"packing": ["within"], "lengths": [64]}}
PAPERS = {"title": "Papers", "src": "en", "tgt": "de", "corpus": {**CORPUS, **SEGMENTS}}
STUDIES = {
    "attention": {"systems": ["transformer", "reluformer"], "dataset": "sentences"},
    "gamma": {
        "systems": ["reluformer"],
        "dataset": "sentences",
        "vary": {"gamma": [1, 2, 4]},
        "recipe": "sweep",
    },
    "length": {"systems": ["reluformer"], "dataset": "documents", "lengths": [64]},
}
TUNING = {
    "seed": 9,
    "recipe": "tuning",
    "datasets": {"sentences": "sentences", "documents": "sentences"},
    "grid": {
        "*": {"learning_rate": [0.00025, 0.0005, 0.001, 0.002]},
        "reluformer": {"learning_rate": [0.0005, 0.001], "gamma": [1, 2, 4]},
    },
}
CONFIGURATION = {
    "title": "t",
    "datasets": {"sentences": "pairs", "documents": "papers"},
    "seeds": [1],
    "tuning": TUNING,
}


@dataclass
class Workspace:
    """A configuration folder and a results folder; `pairs` changes the sentence dataset."""

    folder: Path
    results: Path
    pairs: dict[str, Any] = field(default_factory=dict)

    def experiment(self, **changes: Any) -> Experiment:
        systems = yaml.safe_load((CONFIG / "systems.yaml").read_text(encoding="utf-8"))
        systems["reluformer"]["attention"] |= {"options": {"gamma": 2.0}, "penalty": {"weight": 0.1}}
        (self.folder / "systems.yaml").write_text(yaml.safe_dump(systems), encoding="utf-8")
        for name, dataset in {"pairs": merge(PAIRS, self.pairs), "papers": PAPERS}.items():
            (self.folder / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(dataset), encoding="utf-8")
        studies = {
            name: {"title": name, "question": "?", "columns": ["bleu"], **study} for name, study in STUDIES.items()
        }
        (self.folder / "studies.yaml").write_text(yaml.safe_dump(studies), encoding="utf-8")
        shutil.copy(CONFIG / "claims.yaml", self.folder)
        return Experiment(merge(CONFIGURATION, changes), self.folder)

    def train(self, search: Search, bleu: Callable[[Point], float | None]) -> dict[str, Any]:
        """Finishes every run of a search with the given BLEU (None: diverged); returns the search's outcome."""
        rounds = 0
        while following := replay(search, self.results, rounds)["next"]:
            for path in following:
                changes = split_system(Run.parse(path).system).changes
                value = bleu({key: value for key, value in changes.items() if key != "recipe"})
                summary = {"status": "finished" if value is not None else "diverged", "best_valid_bleu": value}
                write_json(self.results / "runs" / path / "summary.json", {**summary, "best_valid_loss": 3.0})
            rounds += 1
        return replay(search, self.results)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "config" / "datasets").mkdir(parents=True)
    return Workspace(tmp_path / "config", tmp_path / "results")
