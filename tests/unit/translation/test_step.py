from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from reluformer.config.settings import SettingsError
from reluformer.config.translation import TranslationConfig
from reluformer.corpus.store import Store, view_folder
from reluformer.corpus.subword import EOS, SENT, Subword
from reluformer.translation.decode import translate
from reluformer.translation.step import translate_run


def read(run):
    lines = [json.loads(line) for line in (run / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()]
    return lines, json.loads((run / "translation.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("dataset", ["toy", "toy@within-32"])
def test_hypotheses_are_the_searchs_in_the_order_of_the_corpus(experiment, make_model, dataset):
    subword = Subword(experiment.corpora / "toy" / "subword.model")
    model = make_model("reluformer", len(subword))
    store = Store(view_folder(experiment.corpora, dataset) / "store" / "test")
    sources, config = [store.src(i) for i in range(len(store))], TranslationConfig(beam=3, max_ratio=1.0, max_extra=2)
    common = np.bincount(np.concatenate([h.tokens for h in translate(model, sources, config)])).argmax()
    with torch.no_grad():  # <sent> takes the place of the most frequent token: segments of several sentences
        model.embeddings.target[[SENT, common]] = model.embeddings.target[[common, SENT]]
    run = experiment.run(dataset, model)
    translate_run(run, experiment.corpora, threads=1)
    lines, translation = read(run)
    hypotheses = translate(model, sources, config)
    assert [line["index"] for line in lines] == list(range(len(store)))
    assert [line["source_tokens"] for line in lines] == store.src_lengths.tolist()
    for line, hypothesis in zip(lines, hypotheses, strict=True):
        assert len(line["sentences"]) == 1 + hypothesis.tokens.tolist().count(SENT)
        assert line["sentences"] == subword.sentences(hypothesis.tokens)
        assert line["score"] == pytest.approx(hypothesis.score, abs=1e-4)
    assert max(len(line["sentences"]) for line in lines) > 1
    assert translation["status"] == "finished"
    assert translation["segments"] == len(store)
    assert translation["output_tokens"] == sum(len(hypothesis.tokens) for hypothesis in hypotheses)
    assert translation["tokens_per_second"] > 0
    assert (translation["beam"], translation["length_penalty"], translation["precision"]) == (3, 1.0, "fp32")


def test_translating_twice_writes_the_same(experiment):
    run = experiment.run("toy", None)
    translate_run(run, experiment.corpora, threads=1)
    first = (run / "hypotheses.jsonl").read_bytes()
    translate_run(run, experiment.corpora, threads=1)
    assert (run / "hypotheses.jsonl").read_bytes() == first
    assert not list(run.glob("*.partial")) and not list(run.glob(".*"))


def test_a_diverged_run_has_no_hypotheses_and_stays_diverged(experiment):
    run = experiment.run("toy", None, status="diverged")
    translate_run(run, experiment.corpora)
    lines, translation = read(run)
    assert lines == []
    assert translation["status"] == "diverged"
    assert (translation["segments"], translation["tokens_per_second"]) == (0, None)


def test_a_broken_model_is_a_clear_error_and_leaves_no_files(experiment, make_model):
    model = make_model("transformer", len(Subword(experiment.corpora / "toy" / "subword.model")))
    with torch.no_grad():
        model.embeddings.target[EOS] = torch.nan
    run = experiment.run("toy", model)
    with pytest.raises(SettingsError, match="predicts NaN"):
        translate_run(run, experiment.corpora)
    assert not (run / "hypotheses.jsonl").exists() and not (run / "translation.json").exists()


def test_a_model_of_another_vocabulary_is_refused(experiment, make_model):
    run = experiment.run("toy", make_model("transformer", 33))
    with pytest.raises(SettingsError, match=r"70 subwords, but the model of .* has 33"):
        translate_run(run, experiment.corpora)
