from __future__ import annotations

import json

import numpy as np
import pytest

from reluformer.analysis.step import analyse_run
from reluformer.config.settings import SettingsError


def analysis_of(folder):
    return json.loads((folder / "analysis.json").read_text())


def test_a_run_is_measured(run):
    folder, corpora = run
    analyse_run(folder, corpora, threads=1)
    analysis = analysis_of(folder)
    assert {key: analysis[key] for key in ("status", "split", "segments", "tokens")} == {
        "status": "finished",
        "split": "test",
        "segments": 7,
        "tokens": 41 + 35 + 2 * 7,
    }
    assert len(analysis["places"]) == 7
    assert set(analysis["kinds"]) == {"ffn", "encoder_attention", "decoder_attention", "cross_attention", "attention"}
    ffn = analysis["places"]["encoder.0.ffn"]
    assert ffn["gradient_top_share"].keys() == ffn["top_share"].keys() == ffn["value_norm_top_share"].keys()
    assert analysis["kinds"]["ffn"]["gradient_top_share"]["100"] == pytest.approx(1.0)
    with np.load(folder / "attention.npz", allow_pickle=False) as maps:
        assert maps["index"] in range(7)
        assert maps["src_tokens"][-1] == "</s>"
        assert maps["tgt_tokens"][0] == "<s>"


def test_the_analysis_is_deterministic(run):
    folder, corpora = run
    analyse_run(folder, corpora, threads=1)
    first = (folder / "analysis.json").read_bytes()
    analyse_run(folder, corpora, threads=1)
    assert (folder / "analysis.json").read_bytes() == first


def test_maps_are_cut(run, monkeypatch):
    monkeypatch.setattr("reluformer.analysis.step.MAP_TOKENS", 3)
    folder, corpora = run
    analyse_run(folder, corpora)
    with np.load(folder / "attention.npz") as maps:
        assert maps["src_tokens"].shape == (3,)


def test_a_diverged_run_needs_neither_model_nor_corpus(tmp_path):
    (tmp_path / "summary.json").write_text('{"status": "diverged"}')
    analyse_run(tmp_path, tmp_path / "corpora")
    assert analysis_of(tmp_path) == {
        "status": "diverged",
        "split": "test",
        "segments": 0,
        "tokens": 0,
        "places": {},
        "kinds": {},
    }
    with np.load(tmp_path / "attention.npz") as maps:
        assert maps["index"] == -1
        assert set(maps.files) == {"index", "src_tokens", "tgt_tokens"}
        assert maps["src_tokens"].size == 0 and maps["tgt_tokens"].dtype.kind == "U"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("run/summary.json", "has not been trained to its end"),
        ("run/model.safetensors", "has not been trained to its end"),
        ("corpora/toy/subword.model", "has not been prepared"),
    ],
)
def test_what_is_missing_is_named(run, lost, message):
    folder, corpora = run
    (folder.parent / lost).unlink()
    with pytest.raises(SettingsError, match=message):
        analyse_run(folder, corpora)
    assert not (folder / "analysis.json").exists()


def test_a_summary_of_something_else_is_named(run):
    folder, corpora = run
    (folder / "summary.json").write_text("[]")
    with pytest.raises(SettingsError, match="not the summary of a run"):
        analyse_run(folder, corpora)
