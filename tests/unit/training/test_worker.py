"""Whole trainings: they learn, do not depend on how they are split, and write complete outputs."""

from __future__ import annotations

import errno
import json
import math
import shutil

import pytest
from safetensors.numpy import load_file

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.files import sha256
from reluformer.model.transformer import Transformer
from reluformer.training import worker
from reluformer.training.data import load_start, open_data
from reluformer.training.stopping import CRASHED
from reluformer.training.worker import with_vocabulary

GOLDEN = [4.27833, 3.77306, 3.57506, 3.57723, 3.54986, 3.54817, 3.45534, 3.56183]
"""Losses of `make_run(dropout=0)` at every fifth update; if they change, training has changed."""


def test_the_loss_falls_and_outputs_are_complete(training):
    done = training("a", updates=80, learning_rate=1e-2).finish()
    losses = [line["loss"] for line in done.log("train")]
    assert losses[-1] < 0.85 * losses[0]
    assert {path.name for path in done.output.iterdir()} == {
        "model.safetensors",
        "config.yaml",
        "log.jsonl",
        "summary.json",
    }
    summary = done.summary()
    assert summary["status"] == "finished" and summary["updates"] == 80 and summary["diverged_at"] is None
    assert summary["target_tokens"] > 80 * 100 and 0 <= summary["batch_padding"] < 0.5
    assert summary["first_loss"] > summary["final_loss"] == losses[-1]
    assert RunConfig.load(done.output).model.vocabulary == 40
    assert [path.name for path in done.checkpoints.iterdir()] == ["train.log"]


def test_golden_loss_curve(training):
    done = training("a", dropout=0.0).finish()
    losses = [line["loss"] for line in done.log("train")]
    assert losses == pytest.approx(GOLDEN, abs=2e-4)
    valid = done.log("valid")
    assert [line["update"] for line in valid] == [20, 40]
    assert valid[0]["ppl"] == pytest.approx(math.exp(valid[0]["nll"]))


@pytest.mark.slow
def test_split_does_not_matter(training):
    """One process with two accumulation steps, two processes, ZeRO 1 and 2 give the same loss curve."""
    recipe = {"dropout": 0.0, "updates": 30, "log_every": 1, "clip_norm": 1.0}
    alone = training("alone", accumulation=2, **recipe).finish().log("train")
    for name, split in {
        "two": {"processes": 2},
        "zero1": {"processes": 2, "zero_stage": 1},
        "zero2": {"processes": 2, "zero_stage": 2},
    }.items():
        other = training(name, **split, **recipe).finish().log("train")
        for key in ("loss", "nll", "grad_norm"):
            assert [line[key] for line in other] == pytest.approx([line[key] for line in alone], abs=1e-4), name


def test_penalty_is_in_the_loss(training):
    attention = {"activation": "relu-scaled", "options": {"gamma": 1.0}, "penalty": {"weight": 0.5}}
    memory = dict.fromkeys(("encoder_attention", "decoder_attention", "cross_attention"), attention)
    done = training("a", memory=memory, updates=20, log_every=2).finish()
    penalties = [line["penalty"] for line in done.log("train")]
    assert penalties[0] > 0 and penalties[-1] < penalties[0]


def test_divergence_is_a_result(training):
    done = training("a", updates=300, learning_rate=1e6, warmup=0)
    done.finish()
    summary = done.summary()
    assert summary["status"] == "diverged"
    assert 1 < summary["diverged_at"] <= summary["updates"] < 300
    assert len(done.output.joinpath("model.safetensors").read_bytes()) > 0
    assert done.log("train")[-1]["update"] == summary["updates"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "sparsemax", "entmax15"])
def test_undefined_scores_are_divergence_not_a_crash(training, name):
    memory = {key: {"activation": name} for key in ("encoder_attention", "decoder_attention", "cross_attention")}
    done = training("a", memory=memory, updates=30, learning_rate=1e30, warmup=0).finish()
    assert done.summary()["status"] == "diverged" and done.summary()["updates"] < 30


@pytest.mark.slow
def test_average_of_the_last_checkpoints(training):
    plain = training("plain", average_last=1, updates=24).finish()
    averaged = training("averaged", average_last=2, updates=24).finish()
    at16 = training("at16", average_last=1, updates=16).finish()  # inverse-sqrt does not depend on the last update
    last, mean, first = (load_file(each.output / "model.safetensors") for each in (plain, averaged, at16))
    for name in last:
        assert mean[name] == pytest.approx((last[name].astype(float) + first[name]) / 2, abs=1e-6)


@pytest.mark.slow
def test_early_stopping(training):
    done = training("a", updates=200, learning_rate=1e-9, validate_every=5, patience=2).finish()
    summary = done.summary()
    assert summary["stopped_early"] and summary["updates"] < 200


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_validation_measures_bleu_and_the_gain_from_the_source(training, processes):
    recipe = {"updates": 60, "validate_every": 30, "validate_bleu": True, "validate_source": True}
    done = training("a", processes=processes, **recipe).finish()
    first, last = done.log("valid")
    assert all(0 <= line["bleu"] <= 100 for line in (first, last))
    assert abs(first["source_gain"]) < 0.1 and last["source_gain"] > first["source_gain"]  # nothing is aligned at first
    summary = done.summary()
    assert summary["source_gain"] == last["source_gain"]
    assert summary["mean_source_gain"] == pytest.approx((first["source_gain"] + last["source_gain"]) / 2)
    assert summary["dead_keys"] == last["dead_keys"] == 0  # softmax gives every key some weight


def test_mistakes_are_one_line(training, toy_run, tmp_path):
    lost = training("a")
    lost.corpora = tmp_path
    assert lost.start().wait() == 2
    assert lost.messages().startswith("error: ") and len(lost.messages().splitlines()) == 1
    with pytest.raises(SettingsError, match="the corpus has 7 subwords"):
        with_vocabulary(with_vocabulary(toy_run, 40), 7)


def finished_start(training, corpora, name):
    """Returns a finished run that others can start from, and its name among the runs next to the corpora."""
    start = f"toy/{name}/seed1"
    first = training("first", dropout=0.0, average_last=1).finish()
    shutil.copytree(first.output, corpora.parent / "runs" / start, dirs_exist_ok=True)
    return first, start


@pytest.mark.parametrize("split", [{}, {"processes": 2, "zero_stage": 1}])
def test_a_training_starts_from_the_weights_of_another(training, corpora, split):
    first, start = finished_start(training, corpora, "start")
    still = {"learning_rate": 1e-9, "updates": 2, "average_last": 1}
    second = training("second", dropout=0.0, start_from=start, **still, **split).finish()
    assert second.log("valid")[0]["loss"] == pytest.approx(first.log("valid")[-1]["loss"], abs=1e-5)
    assert second.summary()["first_loss"] < GOLDEN[-1] + 0.2 < GOLDEN[0]
    assert second.summary()["data"][f"runs/{start}/model.safetensors"] == sha256(first.output / "model.safetensors")
    assert RunConfig.load(second.output).training.start_from == start
    learnt = load_file(first.output / "model.safetensors")
    assert all(
        abs(learnt[name] - weight).max() < 1e-6
        for name, weight in load_file(second.output / "model.safetensors").items()
    )


def test_a_run_that_starts_from_a_diverged_run_counts_as_diverged(training, corpora):
    _, start = finished_start(training, corpora, "diverged")
    summary = corpora.parent / "runs" / start / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": "diverged"}))
    second = training("second", start_from=start).finish()
    result = second.summary()
    assert (result["status"], result["diverged_at"], result["updates"]) == ("diverged", 0, 0)
    assert f"counts as diverged: it starts from {start}, which diverged" in second.messages()
    assert second.log() == [] and second.weights()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"toy/subword.model": "another"}}, "trained with another toy/subword.model"),
        ({}, "start from a run whose model has the same parameters"),
        (None, "which is not trained: run `reluformer train toy/other/seed1` first"),
    ],
)
def test_an_incompatible_run_is_refused_as_a_start(training, corpora, tmp_path, change, message):
    run = training("second", start_from="toy/other/seed1").run
    other = tmp_path / "runs" / "toy" / "other" / "seed1"
    (tmp_path / "corpora").symlink_to(corpora)
    if change is not None:
        first = training("first", updates=1, average_last=1).finish()
        shutil.copytree(first.output, other)
        summary = other / "summary.json"
        summary.write_text(json.dumps({**json.loads(summary.read_text()), **change}))
    if change == {}:
        run = run.model_copy(update={"model": run.model.model_copy(update={"slots": 32})})
    with pytest.raises(SettingsError, match=message):
        data = open_data(tmp_path / "corpora", run)
        run = with_vocabulary(run, data.train.vocabulary)
        load_start(Transformer(run.model), run, data)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/log.jsonl"),
            "error: run/log.jsonl: no space left on device",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "error: disk quota exceeded"),
        (PermissionError(errno.EACCES, "Permission denied", "store"), "error: store: permission denied"),
        (OSError("odd"), "error: odd"),
    ],
)
def test_system_errors_in_a_run_are_one_line(tmp_path, monkeypatch, capsys, error, said):
    def work(*_):
        raise error

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr(worker, "keep_freed_memory", lambda: None)
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(worker.RunConfig, "model_validate_json", lambda _: None)
    (tmp_path / "run.json").touch()
    worker.main([str(tmp_path / name) for name in ("run.json", "c", "o", "k", "outcome")], None)
    assert capsys.readouterr().err == f"{said}\n"
    assert json.loads((tmp_path / "outcome").read_text()) == {"code": CRASHED}


def test_checkpoints_outlive_outputs_that_cannot_be_written(training):
    """The output folder is a file: the training fails, but its state is kept for the next start."""
    job = training("a", updates=20)
    job.output.write_text("in the way")
    assert job.start().wait() == 1
    assert list(job.checkpoints.glob("*/update-00000016"))
    assert "output: could not be written" in job.messages() and "the checkpoints are kept" in job.messages()
    job.output.unlink()
    job.finish()
    assert "resuming from update 16" in job.messages()
    assert job.summary()["updates"] == 20
