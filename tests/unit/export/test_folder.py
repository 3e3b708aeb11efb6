"""An exported folder is complete, self-contained and free of pickles.

Its model card states the model, its scores and its licence.
"""

from __future__ import annotations

import ast
import json
import re
import shutil

import pytest
import yaml
from safetensors import safe_open

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.corpus import subword
from reluformer.corpus.text import text_of_corpus
from reluformer.export import folder as exporting
from reluformer.export.folder import export_model, licence_keys, model_card
from reluformer.translation.translator import Translator

FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "modeling_reluformer.py",
    "moses.py",
    "subword.model",
    "tokenization_reluformer.py",
    "tokenizer_config.json",
    "transformer_reluformer.py",
    "truecaser.tgt.txt",
    "truecaser.txt",
}


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    export_model(trained.run, folder)
    return folder


def test_the_folder_has_all_it_needs_and_no_pickle(exported):
    assert {path.name for path in exported.iterdir()} == FILES
    assert [path.name for path in exported.parent.iterdir()] == ["model"]
    for path in exported.iterdir():
        head = path.read_bytes()[:4]
        assert not head.startswith((b"\x80\x02", b"\x80\x04", b"PK\x03\x04")), path
    for path in exported.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        ast.parse(source)
        assert not re.search(r"import reluformer|from reluformer|pickle|pydantic|import_module", source), path


def test_an_export_translates_as_its_run(trained, exported, tmp_path):
    alone = shutil.copytree(exported, tmp_path / "alone")
    assert Translator(alone)(trained.raw[:30]) == Translator(trained.run)(trained.raw[:30])
    assert Translator(alone).limit == Translator(trained.run).limit


def test_an_export_has_the_configuration_that_transformers_reads(trained, exported):
    config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert config["memories"]["encoder.0.attention"] == {
        "activation": "relu-scaled",
        "options": {"gamma": 2.0},
        "output_norm": "nothing",
        "output_gate": False,
        "query_key_norm": False,
    }
    generation = json.loads((exported / "generation_config.json").read_text(encoding="utf-8"))
    assert (generation["num_beams"], generation["length_penalty"], generation["early_stopping"]) == (5, 1.0, True)
    ids = {key: config[f"{key}_token_id"] for key in ("pad", "bos", "eos", "decoder_start")}
    assert ids == {"pad": subword.PAD, "bos": subword.BOS, "eos": subword.EOS, "decoder_start": subword.BOS}


def weights_header(folder) -> bytes:
    content = (folder / "model.safetensors").read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def test_the_weights_name_their_run(exported):
    with safe_open(exported / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["run"]) == ("pt", "numbers/reluformer/seed1") and metadata["code_version"]
    assert list(json.loads(weights_header(exported))["__metadata__"]) == ["code_version", "format", "paper", "run"]


def test_an_existing_folder_is_not_overwritten_without_force(trained, exported, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for force in (False, True):
        with pytest.raises(SettingsError, match="not empty, and is not an exported model"):
            export_model(trained.run, tmp_path / "full", force=force)
        with pytest.raises(SettingsError, match="this is a file"):
            export_model(trained.run, tmp_path / "file", force=force)
    old = shutil.copytree(exported, tmp_path / "old")
    (old / "extra").touch()
    with pytest.raises(SettingsError, match="--force replaces it"):
        export_model(trained.run, old)
    export_model(trained.run, old, force=True)
    assert {path.name for path in old.iterdir()} == FILES
    with pytest.raises(SettingsError, match="already an exported model"):
        export_model(old, tmp_path / "new")


def test_an_activation_that_the_exported_model_lacks_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ACTIVATIONS", ("relu", "softmax"))
    with pytest.raises(SettingsError, match=r"relu-scaled: not supported by exported models; add it to Activation"):
        export_model(trained.run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_no_files_and_removes_none(trained, exported, tmp_path, monkeypatch):
    old = shutil.copytree(exported, tmp_path / "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(exporting, "model_card", fail)
    for output in (tmp_path / "new", old):
        with pytest.raises(OSError, match="disk full"):
            export_model(trained.run, output, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {path.name for path in old.iterdir()} == FILES


def card(trained, run) -> str:
    return model_card(run, RunConfig.load(run), text_of_corpus(trained.corpora / "numbers", "fi"), "my-model")


def test_the_card_has_scores_with_signatures_data_and_terms(trained):
    text = card(trained, trained.run)
    bleu = json.loads((trained.run / "scores.json").read_text())["metrics"]["bleu"]
    assert f"| BLEU | {bleu['score']:.2f} | `{bleu['signature']}` |" in text.replace("\\|", "|")
    provenance = json.loads((trained.corpora / "numbers" / "provenance.json").read_text())
    assert all(archive["sha256"] in text for archive in provenance["archives"])
    assert "Apache License 2.0" in text and "on: CC0-1.0, made up." in text
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert settings["model"]["cross_attention"]["options"] == {"gamma": 2.0} and "numbers/reluformer/seed1" in text
    assert "Moses tokens, truecased" in text
    assert "240 updates" in text and "reluformer translate my-model" in text
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["language"] == ["fi", "pt"] and head["license_name"] == "cc0-1.0-made-up"
    assert "arxiv:2302.06461" in head["tags"] and head["datasets"] == ["numbers"]


def test_a_run_without_scores_says_so(trained, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    (run / "scores.json").unlink()
    text = card(trained, run)
    assert "It has not been scored." in text and "model-index" not in text


@pytest.mark.parametrize(
    ("licence", "keys"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY-NC-ND 3.0 (TED talks)", {"license": "cc-by-nc-nd-3.0"}),
        ("unknown; see there", {"license": "other", "license_name": "unknown-see-there"}),
    ],
)
def test_a_licence_has_the_name_that_hugging_face_knows(licence, keys):
    assert licence_keys(licence) == keys
