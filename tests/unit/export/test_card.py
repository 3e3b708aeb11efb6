"""The model card says what the model is, what it scores and on whose terms."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from reluformer.config.run import RunConfig
from reluformer.corpus.text import text_of_corpus
from reluformer.export.card import licence_keys, model_card


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
