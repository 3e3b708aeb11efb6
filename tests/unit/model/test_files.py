from __future__ import annotations

import pytest
import torch

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.model.files import load_model, save_model


def save_run(model, folder):
    RunConfig(
        dataset="d",
        system="s",
        seed=1,
        src="de",
        tgt="en",
        model=model.config,
        training=TrainingConfig(),
        translation=TranslationConfig(),
    ).save(folder / "config.yaml")
    save_model(model, folder / "model.safetensors")


def test_a_saved_model_is_loaded_unchanged(make_model, sentences, system, tmp_path):
    for share in ("none", "decoder", "all"):
        model = make_model(system, share_embeddings=share, layers={"encoder.*.attention": {"output_norm": "layernorm"}})
        save_run(model, tmp_path)
        loaded, run = load_model(tmp_path)
        assert run.model == model.config and not loaded.training
        with torch.no_grad():
            assert torch.equal(loaded(*sentences.inputs), model(*sentences.inputs))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "model.safetensors"]


def test_a_failed_write_leaves_the_old_file(make_model, tmp_path, monkeypatch):
    save_run(make_model("transformer"), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def fail(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("reluformer.model.files.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_run(make_model("reluformer"), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_mistakes_are_one_clear_line(make_model, tmp_path):
    with pytest.raises(SettingsError, match=r"config\.yaml: there is no such file"):
        load_model(tmp_path)
    save_run(make_model("transformer"), tmp_path)
    other = make_model("transformer", width=12)
    save_model(other, tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match="its shape is"):
        load_model(tmp_path)
    save_model(make_model("rela"), tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match="not in the model"):
        load_model(tmp_path)
    save_model(make_model("transformer", encoder_layers=1), tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match="missing"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(SettingsError, match="not a safetensors file"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match="has not been trained"):
        load_model(tmp_path)
