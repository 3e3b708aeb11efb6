"""The analysis of one trained run: analysis.json and attention.npz in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reluformer.analysis.distance import is_punctuation
from reluformer.analysis.gradients import gradient_top_shares
from reluformer.analysis.maps import attention_maps, choose_segment, no_maps
from reluformer.analysis.sweep import mean_by_kind, sweep
from reluformer.config.evaluation import AnalysisConfig
from reluformer.config.run import run_status, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.store import Store, view_folder
from reluformer.corpus.text import load_subword
from reluformer.files import replace, write_json
from reluformer.model.files import load_model
from reluformer.model.objective import Objective


def analyse_run(
    run_folder: Path, corpora: Path, threads: int | None = None, config: AnalysisConfig | None = None
) -> None:
    """Measures a run's memories over its test split and writes `analysis.json` and `attention.npz` into its folder.

    Uses a CUDA device if there is one. A diverged run gets both files with its status and nothing else.

    Args:
        run_folder: with config.yaml, summary.json and model.safetensors.
        corpora: the folder with the prepared corpora.
        threads: CPU threads; None: torch's default.
        config: the settings of the analysis.

    Raises:
        SettingsError: if the run or the corpus is missing or empty.
    """
    config = config or AnalysisConfig()
    if threads is not None:
        torch.set_num_threads(threads)
    status = run_status(run_folder)
    if status == "diverged":
        _write(run_folder, no_maps(), _report(status, config.split, 0, 0, {}))
        return
    model, run = load_model(run_folder, "cuda" if torch.cuda.is_available() else "cpu")
    store = Store(view_folder(corpora, run.dataset) / "store" / config.split)
    if not len(store):
        raise SettingsError(f"{store.folder}: there is no segment to analyse")
    subword = load_subword(corpora, run.dataset)
    commas = np.array([is_punctuation(piece) for piece in subword.pieces(range(len(subword)))])

    places = sweep(model, store, commas, config.batch_tokens, config.top_rows)
    objective = Objective(model, run.training.label_smoothing).eval()
    shares = gradient_top_shares(objective, store, config.gradient_batches, config.gradient_tokens)
    for place, share in shares.items():
        places[place]["gradient_top_share"] = share
    index = choose_segment(store, split_dataset(run.dataset)[1] is not None, config.map_tokens)
    maps = attention_maps(model, store, index, subword.pieces, config.map_tokens)

    tokens = int(store.src_lengths.sum() + store.tgt_lengths.sum()) + 2 * len(store)
    _write(run_folder, maps, _report(status, config.split, len(store), tokens, places))


def _write(run_folder: Path, maps: Mapping[str, NDArray], report: dict[str, Any]) -> None:
    path = run_folder / "attention.npz"
    replace(path, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **maps))
    write_json(run_folder / "analysis.json", report)


def _report(status: str, split: str, segments: int, tokens: int, places: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the content of analysis.json; tokens: real tokens of both sides, with EOS."""
    return {
        "status": status,
        "split": split,
        "segments": segments,
        "tokens": tokens,
        "places": places,
        "kinds": mean_by_kind(places),
    }
