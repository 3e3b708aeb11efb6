"""A synthetic experiment and synthetic runs, in the formats that the other steps write."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.paper.outputs import segment_length, study_outputs

CONFIG = Path(__file__).parents[3] / "config"
SHARES = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100")
LAYERS = 2
DIVERGED_AT = 312


@dataclass
class Example:
    """An experiment in a temporary folder, with methods that fill its runs."""

    experiment: Experiment
    results: Path

    def folder(self, run: Run) -> Path:
        return self.results / "runs" / run.path

    def fill(self, *studies: str) -> None:
        """Writes every run of these studies; those of direct ReLU attention diverge."""
        for study in studies:
            for run in self.experiment.study_runs(study):
                self.write(run, diverged=split_system(run.system)[0] == "attention-relu")

    def write(self, run: Run, diverged: bool = False, score: float | None = None) -> None:
        """Writes a run's folder. `score` is its tokenised BLEU; sacreBLEU is one less, d-BLEU one more."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        offset = sum(run.path.encode()) % 17 / 17
        value = 20 + 2 * offset if score is None else score
        documents = segment_length(run.dataset)
        put(folder, "summary.json", summary(diverged, run))
        put(folder, "translation.json", {"status": status(diverged), "tokens_per_second": None if diverged else 900.0})
        content = scores(diverged, value, documents)
        if run.dataset == "some-documents" and not diverged:  # its single sentences
            content["metrics"]["d_bleu"] = {"score": value + 1, "signature": "made up"}
        put(folder, "scores.json", content)
        put(folder, "analysis.json", analysis(diverged, run, offset))
        write_log(folder / "log.jsonl", diverged, offset)
        write_maps(folder / "attention.npz", diverged, documents, offset)

    def translate(self, run: Run, share: float) -> None:
        """Writes the BLEU counts of 200 segments of a run, of which a `share` is bad."""
        counts = np.tile([20, 20, 15, 12, 9, 7, 20, 19, 18, 17], (200, 1))
        counts[:, 2:6] -= np.arange(200)[:, None] % 3  # segments differ
        counts[: int(200 * share), 2:6] = [8, 4, 2, 1]
        np.savez(self.folder(run) / "counts.npz", bleu=counts, tokenized_bleu=counts)

    def law(self) -> None:
        """Writes the variance law on Gaussian inputs."""
        n = [2**power for power in range(3, 13)]
        measured = {"relu": [v / 2.02 for v in n], "relu-scaled": [1.01] * len(n), "softmax": [2.7 / v for v in n]}
        folder = self.results / "paper"
        folder.mkdir(parents=True, exist_ok=True)
        put(folder, "variance_law.json", {"n": n, "theory_direct": [v / 2 for v in n], "measured": measured})


def status(diverged: bool) -> str:
    return "diverged" if diverged else "finished"


def put(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def summary(diverged: bool, run: Run) -> dict[str, Any]:
    return {
        "status": status(diverged),
        "updates": DIVERGED_AT if diverged else 500,
        "diverged_at": DIVERGED_AT if diverged else None,
        "first_loss": 8.5,
        "final_loss": None if diverged else 3.25,
        "best_valid_loss": 3.0 + run.seed / 10,
        "tokens_per_second": 3500.0 + run.seed,
        "parameters": 3_000_000,
    }


def scores(diverged: bool, value: float, documents: int | None) -> dict[str, Any]:
    if diverged:
        return {"status": "diverged", "metrics": {}, "buckets": [], "lengths": None}
    metrics: dict[str, Any] = {
        "bleu": {"score": value - 1, "signature": "made up"},
        "tokenized_bleu": {"score": value, "signature": "made up"},
        "chrf": {"score": value + 20, "signature": "made up"},
    }
    bounds = [(1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, None)]
    if documents:
        metrics["d_bleu"] = {"score": value + 1, "signature": "made up"}
        metrics["s_bleu"] = None
        metrics["sentence_count_agreement"] = 0.0
        bounds = [(1, 32), (33, 64), (65, 128)]
    return {
        "status": "finished",
        "metrics": metrics,
        "buckets": [
            {
                "low": low,
                "high": high,
                "segments": 1200 // (i + 1) if high else 40,
                "bleu": value - 1 - i,
                "bleu_ci": 0.5,
                "tokenized_bleu": value - i,
                "tokenized_bleu_ci": 0.5 + i,
            }
            for i, (low, high) in enumerate(bounds)
        ],
        "lengths": {"mean": 50.0, "median": 48, "p90": 60, "max": 64, "share_half": 0.75 if documents else None},
        "unit": "subword tokens" if documents else "words",
    }


def analysis(diverged: bool, run: Run, offset: float) -> dict[str, Any]:
    if diverged:
        return {"status": "diverged", "split": "test", "segments": 0, "tokens": 0, "places": {}, "kinds": {}}
    softmax = split_system(run.system)[0] == "ffn-softmax"
    exponent = 0.2 if softmax else 0.6
    curve = {share: (float(share) / 100) ** exponent for share in SHARES}
    places: dict[str, Any] = {}
    for layer in range(LAYERS):
        for stack in ("encoder", "decoder"):
            ratio = (0.002 if softmax else 0.4) * (layer + 1 + offset)
            places[f"{stack}.{layer}.ffn"] = {"kind": "ffn", "variance_ratio": ratio, "anisotropy": 0.1 + layer / 10}
            places[f"{stack}.{layer}.attention"] = attention_place(f"{stack}_attention", layer)
        places[f"decoder.{layer}.cross_attention"] = attention_place("cross_attention", layer)
    attention = {
        "variance_ratio": 0.3,
        "output_variance": 0.7,
        "entropy": 1.25 + offset,
        "zero_share": 0.625,
        "distance": 8.5,
        "beyond": {"128": 0.1, "256": 0.05, "512": 0.01},
        "punctuation_share": 0.125,
    }
    ffn = {
        "variance_ratio": 0.001 if softmax else 0.5,
        "output_variance": 0.4,
        "residual_variance": 0.9,
        "anisotropy": 0.25,
        "entropy": 3.0,
        "used_slots": 0.9,
        "effective_slots": 0.3 if softmax else 0.8,
        "top_share": curve,
        "gradient_top_share": curve,
        "value_norm_top_share": curve,
    }
    names = ("attention", "encoder_attention", "decoder_attention", "cross_attention")
    kinds = {"ffn": ffn, **dict.fromkeys(names, attention)}
    return {"status": "finished", "split": "test", "segments": 9, "tokens": 99, "places": places, "kinds": kinds}


def attention_place(kind: str, layer: int) -> dict[str, Any]:
    lengths = [4, 8, 16, 32, 64]
    curve = {"lengths": lengths, "variance": [0.1 * (layer + 1) * n**0.1 for n in lengths]}
    return {"kind": kind, "entropy": 1.0 + layer, "variance_by_length": curve}


def write_log(path: Path, diverged: bool, offset: float) -> None:
    lines: list[dict[str, Any]] = []
    for update in range(20, DIVERGED_AT if diverged else 501, 20):
        loss = 8.5 + 2 ** (update / 40) / 2 if diverged else 3 + 5.5 * math.exp(-update / 150) + offset / 4
        lines.append({"event": "train", "update": update, "loss": loss})
        if update % 100 == 0:
            valid = {"ppl": math.exp(min(loss, 12)), "loss": loss, "bleu": max(0.0, 30 - 3 * loss)}
            lines.append({"event": "valid", "update": update, **valid})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_maps(path: Path, diverged: bool, documents: int | None, offset: float) -> None:
    if diverged:
        np.savez(path, index=np.int64(-1))
        return
    rows, columns = (120, 100) if documents else (14, 17)
    random = np.random.default_rng(int(offset * 1000))
    words = np.array(["▁configure", "▁the", "▁device", ",", "▁in", "$x_", "tings", "▁übersetzt"])
    arrays: dict[str, Any] = {"index": np.int64(3)}
    for name, queries, keys in (("encoder", columns, columns), ("decoder", rows, rows), ("cross", rows, columns)):
        near = -np.abs(np.arange(queries)[:, None] * keys / queries - np.arange(keys)[None]) / 2
        scores = near[None] + random.normal(size=(4, queries, keys))
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        arrays |= {f"{name}.{layer}": weights.astype(np.float16) for layer in range(LAYERS)}
    arrays["src_tokens"] = words[np.arange(columns) % len(words)]
    arrays["tgt_tokens"] = words[(np.arange(rows) * 3) % len(words)]
    np.savez(path, **arrays)


def dataset(title: str, segments: dict[str, Any] | None) -> dict[str, Any]:
    corpus = {
        "reader": "homeassistant",
        "archives": [{"name": "some-text.whl", "urls": ["https://example.org/some-text.whl"]}],
        "held_out": {"valid": 0.1, "test": 0.1},
        "documents": bool(segments),
        "segments": segments,
    }
    return {
        "title": title,
        "src": "de",
        "tgt": "en",
        "corpus": corpus,
        "training": {"updates": 500},
        "recipes": {
            "sweep": {"training": {"updates": 200}},
            "scratch": {},
            "from-sentences": {"training": {"start_from": "{dataset}/{system}/seed{seed}"}},
        },
    }


def make_up(root: Path, **config: Any) -> Example:
    """Returns the project's systems and studies on two synthetic datasets; `config` as in config.yaml."""
    folder = root / "config"
    (folder / "datasets").mkdir(parents=True, exist_ok=True)
    for name in ("systems.yaml", "studies.yaml", "claims.yaml"):
        shutil.copy(CONFIG / name, folder / name)
    segments = {"packing": ["within", "across"], "lengths": [64, 128]}
    made_up = {"sentences": ("Some sentences", None), "documents": ("Some documents", segments)}
    for role, (title, what) in made_up.items():
        path = folder / "datasets" / f"some-{role}.yaml"
        path.write_text(yaml.safe_dump(dataset(title, what)), encoding="utf-8")
    changes = {
        "document-length": {
            "lengths": [64, 128],
            "packing": ["within"],
            "vary": {"recipe": ["from-sentences"]},
        },
        "distance": {"lengths": [128], "packing": ["within"]},
        "memory-size": {"vary": {"slots": [32, 128, 512]}},
    }
    whole = {
        "title": "Made up",
        "datasets": {"sentences": "some-sentences", "documents": "some-documents"},
        "seeds": [1],
        **config,
        "studies": {**changes, **config.get("studies", {})},
    }
    return Example(Experiment(whole, folder, "made-up.yaml"), root / "results")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Example]:
    """`make(toy=True, seeds=[1, 2], studies={...})`: `make_up` in the test's folder."""
    return partial(make_up, tmp_path)


def score(root: Path, redistribute: bool = True, toy: bool = True) -> Example:
    """Returns `make_up` with the runs of one study, translated and scored on a synthetic corpus."""
    from reluformer.evaluation.score import score_run

    example = make_up(root, toy=toy, only=["ffn-activation"])
    path = example.experiment.folder / "datasets" / "some-sentences.yaml"
    data = {**yaml.safe_load(path.read_text(encoding="utf-8")), "redistribute": redistribute}
    data["corpus"]["lowercase"] = True
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    example = Example(Experiment(example.experiment.config.model_dump(), example.experiment.folder), example.results)
    corpus = example.results / "corpora" / "some-sentences"
    (corpus / "raw").mkdir(parents=True)
    text = "".join(f"the device number {n} is not there at all .\n" for n in range(30))
    for name in ("raw/test.de", "raw/test.en", "test.tok.de", "test.tok.en"):
        (corpus / name).write_text(text, encoding="utf-8")
    configuration = example.experiment.datasets["some-sentences"].corpus.model_dump(mode="json")
    put(corpus, "provenance.json", {"configuration": configuration, "archives": []})
    put(corpus, "statistics.json", {})
    for number, run in enumerate(example.experiment.runs):
        example.write(run)
        folder = example.folder(run)
        example.experiment.resolve(run).save(folder / "config.yaml")
        lines = text.splitlines()
        lines[: 3 + number] = ["the device is away ."] * (3 + number)
        entries = [{"index": n, "sentences": [line], "source_tokens": 8} for n, line in enumerate(lines)]
        hypotheses = "".join(json.dumps(entry) + "\n" for entry in entries)
        (folder / "hypotheses.jsonl").write_text(hypotheses, encoding="utf-8")
        score_run(folder, example.results / "corpora")
        log = example.results.parent / "logs" / "train" / f"{run.path}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("trained\n", encoding="utf-8")
    for file in study_outputs(example.experiment, "ffn-activation"):
        path = example.results.parent / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"what {path.name} shows\n".encode())
    put(example.results / "paper", "claims.json", {"claims": []})
    return example


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., Example]:
    """`scored(redistribute=True)`: `score` in the test's folder."""
    return partial(score, tmp_path)
