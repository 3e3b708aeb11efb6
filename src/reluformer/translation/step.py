"""Translates a run's test split; writes hypotheses.jsonl and translation.json to the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from reluformer.config.run import RunConfig, run_status, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.store import Store, view_folder
from reluformer.corpus.subword import Subword
from reluformer.corpus.text import SUBWORD_FILE, load_subword, require_trained_with
from reluformer.files import write_json, write_text
from reluformer.model.files import load_model
from reluformer.ops.paths import verdicts
from reluformer.ops.process import keep_freed_memory
from reluformer.translation.decode import ready, translate
from reluformer.translation.search import Hypothesis

SPLIT = "test"


def translate_run(run_folder: Path, corpora: Path, threads: int | None = None) -> None:
    """Translates the test split with a run's model; a diverged run gets no hypotheses and keeps its status.

    Args:
        run_folder: a trained run: model.safetensors, config.yaml, summary.json.
        corpora: the folder of all prepared corpora.
        threads: CPU threads; None for torch's default.

    Raises:
        SettingsError: the run or its corpus is missing, they do not match, or the model predicts NaN.
    """
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    config = RunConfig.load(run_folder)
    status = run_status(run_folder)
    hypotheses: list[Hypothesis] = []
    lines: list[str] = []
    seconds = 0.0
    if status != "diverged":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, _ = load_model(run_folder, device)
        ready(model, config.translation, device)
        store = Store(view_folder(corpora, config.dataset) / "store" / SPLIT)
        if store.vocabulary != config.model.vocabulary:
            raise SettingsError(
                f"{store.folder}: {store.vocabulary} subwords, but the model of {run_folder} has "
                f"{config.model.vocabulary}: the corpus was prepared again after the training"
            )
        require_trained_with(run_folder, corpora / split_dataset(config.dataset)[0] / SUBWORD_FILE)
        begin = time.perf_counter()
        hypotheses = translate(model, [store.src(i) for i in range(len(store))], config.translation, device)
        seconds = time.perf_counter() - begin
        lines = jsonl(hypotheses, store.src_lengths.tolist(), load_subword(corpora, config.dataset))
    write_text(run_folder / "hypotheses.jsonl", "".join(f"{line}\n" for line in lines))
    tokens = sum(len(hypothesis.tokens) for hypothesis in hypotheses)
    translation = {
        "status": status,
        "split": SPLIT,
        "segments": len(hypotheses),
        "output_tokens": tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "beam": config.translation.beam,
        "length_penalty": config.translation.length_penalty,
        "precision": config.translation.precision,
        "paths": verdicts(),
    }
    write_json(run_folder / "translation.json", translation)


def jsonl(hypotheses: Sequence[Hypothesis], source_tokens: Sequence[int], subword: Subword) -> list[str]:
    """Returns one JSON object per segment: index, tokenised sentences, number of source tokens, score."""
    lines = []
    for index, (hypothesis, tokens) in enumerate(zip(hypotheses, source_tokens, strict=True)):
        line = {
            "index": index,
            "sentences": subword.sentences(hypothesis.tokens),
            "source_tokens": tokens,
            "score": round(hypothesis.score, 4),
        }
        lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False))
    return lines
