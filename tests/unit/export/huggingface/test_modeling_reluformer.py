"""An exported model gives the same translations in transformers, without this package."""

from __future__ import annotations

import ast
import json

import pytest

from reluformer.config.run import RunConfig
from reluformer.translation.translator import Translator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def translator(trained) -> Translator:
    return Translator(trained.run)


def test_a_hundred_sentences_with_beam_5_are_the_same(trained, elsewhere, translator):
    assert translator.settings.beam == 5
    expected = translator(trained.raw[:100])
    assert len(set(expected)) > 90
    assert elsewhere["translations"] == expected


def test_blank_lines_stay_blank_and_in_their_place(elsewhere):
    first, second = elsewhere["translations"][:2]
    assert elsewhere["blank"] == [first, "", "", second]


def test_the_other_environment_has_nothing_of_this_package(elsewhere):
    assert {"torch", "transformers", "sentencepiece", "sacremoses"} <= set(elsewhere["packages"])
    assert not {"reluformer", "deepspeed", "entmax"} & set(elsewhere["packages"])


def test_greedy_decoding_is_the_same(trained, elsewhere):
    assert elsewhere["greedy"] == Translator(trained.run, beam=1)(trained.raw[:20])


def test_a_model_saved_by_transformers_is_the_same(elsewhere):
    assert elsewhere["again"] == elsewhere["translations"][:20]


def test_int8_translations_are_nearly_the_same_also_after_saving(elsewhere):
    same = sum(a == b for a, b in zip(elsewhere["int8"], elsewhere["translations"], strict=False))
    assert same >= 16
    assert elsewhere["int8_again"] == elsewhere["int8"]
    assert elsewhere["int8_refusal"] == "an int8 model can only translate: load it with precision='fp32' to train it"


def test_sampling_gives_other_sentences(elsewhere):
    assert len(elsewhere["sampled"]) == 3 and all(elsewhere["sampled"])


def test_the_n_best_and_their_scores_are_the_same(elsewhere, translator):
    (line,) = translator.lines(["Yksi kaksi ."], n_best=3)
    assert elsewhere["n_best"] == [translation.text for translation in line.translations]
    assert elsewhere["scores"] == pytest.approx([translation.score for translation in line.translations], abs=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_labels(elsewhere):
    loss, expected = elsewhere["losses"]
    assert loss == pytest.approx(expected, rel=1e-5) and loss > 0


def test_transformers_reads_the_configuration_of_the_run(trained, elsewhere):
    assert elsewhere["training"] == RunConfig.load(trained.run).training.model_dump(mode="json")


def test_hugging_face_reads_the_model_card(trained, elsewhere):
    card = elsewhere["card"]
    assert card["language"] == ["fi", "pt"] and "arxiv:2302.06461" in card["tags"]
    scores = json.loads((trained.run / "scores.json").read_text(encoding="utf-8"))["metrics"]
    assert ["bleu", round(scores["bleu"]["score"], 2), "numbers"] in elsewhere["results"]


def test_the_python_of_the_documentation_runs(elsewhere):
    best, n_best, sampled = map(ast.literal_eval, elsewhere["page"])
    assert (len(best), len(n_best), len(sampled)) == (1, 3, 1) and n_best[0] == best[0]
