"""A run's names and its saved configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.model.config import ModelConfig
from reluformer.run import Run, RunConfig, split_dataset, split_system
from reluformer.settings import SettingsError
from reluformer.training.config import TrainingConfig
from reluformer.translation.config import TranslationConfig


def test_a_run_and_its_path_are_each_others_inverse():
    run = Run("europarl7@across-1024", "reluformer+gamma=0.5+recipe=sweep", 3)
    assert run.path == "europarl7@across-1024/reluformer+gamma=0.5+recipe=sweep/seed3"
    assert Run.parse(run.path) == run


@pytest.mark.parametrize("path", ["", "iwslt14", "iwslt14/transformer", "iwslt14/transformer/seedling", "a/b/c/seed1"])
def test_a_name_that_is_no_run_is_refused(path):
    with pytest.raises(SettingsError, match="DATASET/SYSTEM/seedN"):
        Run.parse(path)


def test_names_carry_segmentation_and_changes():
    assert split_dataset("europarl7@within-128") == ("europarl7", "within-128")
    assert split_dataset("iwslt14") == ("iwslt14", None)
    assert split_system("reluformer+gamma=learned+slots=32+model.norm=pre") == (
        "reluformer",
        {"gamma": "learned", "slots": 32, "model.norm": "pre"},
    )


def test_a_saved_configuration_is_read_back_equal(tmp_path: Path):
    config = RunConfig(
        dataset="d",
        system="s",
        seed=1,
        src="de",
        tgt="en",
        model=ModelConfig(layers={"encoder.0.ffn": {"activation": "softmax"}}),
        training=TrainingConfig(adam_betas=(0.9, 0.999)),
        translation=TranslationConfig(beam=3),
    )
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path) == config
