"""A run's name, path and saved configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.config.model import ModelConfig
from reluformer.config.run import Run, RunConfig, corpora_of, read_export, run_status, split_dataset
from reluformer.config.settings import SettingsError
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig


def test_a_run_is_parsed_from_its_path():
    run = Run("europarl7@across-1024", "reluformer+gamma=0.5+recipe=sweep", 3)
    assert run.path == "europarl7@across-1024/reluformer+gamma=0.5+recipe=sweep/seed3"
    assert Run.parse(run.path) == run


@pytest.mark.parametrize("path", ["", "iwslt14", "iwslt14/transformer", "iwslt14/transformer/seedling", "a/b/c/seed1"])
def test_a_name_that_is_no_run_is_refused(path):
    with pytest.raises(SettingsError, match="DATASET/SYSTEM/seedN"):
        Run.parse(path)


def test_a_datasets_name_carries_its_segmentation():
    assert split_dataset("europarl7@within-128") == ("europarl7", "within-128")
    assert split_dataset("iwslt14") == ("iwslt14", None)


def saved_as(**parts) -> RunConfig:
    """Returns a run's configuration."""
    about = {"dataset": "d", "system": "s", "seed": 1, "src": "de", "tgt": "en"}
    return RunConfig(**about, **{"training": {}, "translation": {}, **parts})


def test_a_saved_configuration_is_read_back_equal(tmp_path: Path):
    config = saved_as(
        model=ModelConfig(layers={"encoder.0.ffn": {"activation": "softmax"}}),
        training=TrainingConfig(adam_betas=(0.9, 0.999)),
        translation=TranslationConfig(beam=3),
    )
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path) == config


def test_a_run_saved_with_the_former_names_of_keys_is_read(tmp_path: Path):
    config = saved_as(
        model=ModelConfig(
            ffn={"activation": "relu", "output_norm": "layernorm"}, layers={"*ffn": {"output_norm": "nothing"}}
        )
    )
    config.save(tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert text.count("output_norm") == 5
    old = text.replace("output_norm", "after").replace("updates:", "adam_eps: 1.0e-08\n  updates:")
    (tmp_path / "config.yaml").write_text(old, encoding="utf-8")
    assert RunConfig.load(tmp_path) == config


def test_a_missing_run_suggests_a_similar_one(tmp_path: Path):
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "config.yaml").touch()
    with pytest.raises(SettingsError, match="seed2: there is no such run or exported model; did you mean 'seed1'"):
        RunConfig.load(tmp_path / "seed2")


def test_the_status_is_that_of_the_summary(tmp_path: Path):
    with pytest.raises(SettingsError, match="not been trained to its end"):
        run_status(tmp_path)
    for wrong in ("[]", "{", "{}"):
        (tmp_path / "summary.json").write_text(wrong)
        with pytest.raises(SettingsError, match="not the summary"):
            run_status(tmp_path)
    (tmp_path / "summary.json").write_text('{"status": "finished"}')
    assert run_status(tmp_path) == "finished"


def test_an_exported_model_is_recognised_by_its_configuration(tmp_path: Path):
    assert read_export(tmp_path) is None
    for wrong in ("[]", "{", '{"run": {}}', '{"run": [], "text": {}}'):
        (tmp_path / "config.json").write_text(wrong)
        with pytest.raises(SettingsError, match="not the configuration of an exported model"):
            read_export(tmp_path)
    assert read_export(tmp_path / "config.json") is None  # a file where a folder is expected
    (tmp_path / "config.json").write_text('{"run": {"dataset": []}, "text": {}}')
    with pytest.raises(SettingsError, match=r"config\.json: run: dataset: \[\]: input should be a valid string"):
        RunConfig.load(tmp_path)


def test_corpora_lie_beside_runs():
    assert corpora_of(Path("/x/results/runs/d/s/seed1")) == Path("/x/results/corpora")
    assert corpora_of(Path("/x")) == Path("/x/corpora")


def test_corpora_of_runs_behind_a_link_lie_beside_the_link(tmp_path, monkeypatch):
    disk, results = tmp_path / "disk" / "runs", tmp_path / "results"
    run = disk / "d" / "s" / "seed1"
    run.mkdir(parents=True)
    (results / "corpora").mkdir(parents=True)
    (results / "runs").symlink_to(disk)
    assert corpora_of(results / "runs" / "d" / "s" / "seed1") == results / "corpora"
    (tmp_path / "short").symlink_to(results / "runs" / "d" / "s" / "seed1")
    (disk.parent / "corpora").mkdir()
    assert corpora_of(tmp_path / "short") == disk.parent / "corpora"  # the target of the link


@pytest.mark.parametrize("seed", [-1, 2**32, 18446744073709551616, True, "x", 1.5])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    from reluformer.config.experiment import ExperimentConfig
    from reluformer.config.settings import parse

    with pytest.raises(SettingsError, match="seeds"):
        parse(ExperimentConfig, {"title": "t", "datasets": {}, "seeds": [seed]}, "c.yaml")


@pytest.mark.parametrize("name", ["d/s/seed²", "d/s/seed-1", "d/s/seed", "d/s/seed1.0", "d/s/seed 1"])
def test_a_run_needs_a_valid_seed(name):
    with pytest.raises(SettingsError, match="a run is named DATASET/SYSTEM/seedN"):
        Run.parse(name)
