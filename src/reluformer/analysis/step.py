"""Analyses one trained run; writes analysis.json and attention.npz to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reluformer.analysis.maps import choose_segment, maps_of
from reluformer.analysis.sweep import gradient_top_shares, mean_by_kind, on_device, sweep
from reluformer.analysis.weights import is_punctuation
from reluformer.config.run import run_status, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.corpus.batches import collate
from reluformer.corpus.store import Store, view_folder
from reluformer.corpus.text import load_subword
from reluformer.files import replace, write_json
from reluformer.model.files import load_model
from reluformer.model.objective import Objective

SPLIT = "test"
PADDED_TOKENS = 2048
"""Tokens of a batch on its longer side, padding included."""
TOP_ROWS = 2048
"""Rows of a place whose weights are sorted for top_share, evenly spread over the split."""
GRADIENT_BATCHES, GRADIENT_TOKENS = 4, 512
"""Number of batches whose gradients are averaged, and the approximate target tokens of each."""
MAP_TOKENS = 512
"""Maximum tokens on each axis of the attention maps."""


def analyse_run(run_folder: Path, corpora: Path, threads: int | None = None) -> None:
    """Measures a run's memories over its test split and writes `analysis.json` and `attention.npz` into its folder.

    Uses a CUDA device if there is one. For a diverged run both files say so and hold no measures or maps.

    Args:
        run_folder: with config.yaml, summary.json and model.safetensors.
        corpora: the folder with the prepared corpora.
        threads: CPU threads; None: torch's default.

    Raises:
        SettingsError: if the run or the corpus is missing or empty.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    status = run_status(run_folder)
    report: dict[str, Any] = {"status": status, "split": SPLIT, "segments": 0, "tokens": 0}
    maps: dict[str, NDArray] = {"index": np.array(-1), **dict.fromkeys(("src_tokens", "tgt_tokens"), np.array([], str))}
    places: dict[str, dict[str, Any]] = {}
    if status != "diverged":
        model, run = load_model(run_folder, "cuda" if torch.cuda.is_available() else "cpu")
        store = Store(view_folder(corpora, run.dataset) / "store" / SPLIT)
        if not len(store):
            raise SettingsError(f"{store.folder}: there is no segment to analyse")
        subword = load_subword(corpora, run.dataset)
        commas = np.array([is_punctuation(piece) for piece in subword.pieces(range(len(subword)))])
        places = sweep(model, store, commas, PADDED_TOKENS, TOP_ROWS)
        objective = Objective(model, run.training.label_smoothing).eval()
        shares = gradient_top_shares(objective, store, GRADIENT_BATCHES, GRADIENT_TOKENS)
        for place, share in shares.items():
            places[place]["gradient_top_share"] = share
        index = choose_segment(store, split_dataset(run.dataset)[1] is not None, MAP_TOKENS)
        pair = on_device(collate(store, [index]), next(model.parameters()).device)
        maps = {"index": np.array(index), **maps_of(model, pair, subword.pieces, MAP_TOKENS)}
        report["segments"] = len(store)
        report["tokens"] = int(store.src_lengths.sum() + store.tgt_lengths.sum()) + 2 * len(store)  # with EOS
    path = run_folder / "attention.npz"
    replace(path, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **maps))
    write_json(run_folder / "analysis.json", {**report, "places": places, "kinds": mean_by_kind(places)})
