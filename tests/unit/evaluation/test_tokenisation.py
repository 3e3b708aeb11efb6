"""Scores use the tokeniser of the language, also for text without spaces, and state it in their signatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reluformer.config.model import ModelConfig
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.evaluation import tokenisation
from reluformer.evaluation.compare import compare_runs
from reluformer.evaluation.score import rescore_run, score_run
from reluformer.evaluation.tokenisation import choose, count_words, missing


@pytest.fixture
def without_mecab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenisation, "missing", lambda name: "not installed" if "mecab" in name else None)


@pytest.fixture
def with_mecab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenisation, "missing", lambda name: None)


@pytest.mark.parametrize(
    ("languages", "name"),
    [
        (["de", "en", "vi", "no", "hi", "ar", "xx", "zh_Latn", "zh-Latn-CN", "tha_Latn"], "13a"),
        (["zh", "ZH", "zh-CN", "zh_Hant", "zh-Hans-SG", "zho_Hans", "cmn", "yue"], "zh"),
        (["ja", "jpn", "ja-JP", "jpn_Jpan"], "ja-mecab"),
        (["ko", "kor_Hang"], "ko-mecab"),
        (["th", "tha_Thai", "lo", "km-KH", "khm_Khmr", "my", "mya_Mymr", "bo", "dz", "shn"], "char"),
    ],
)
def test_the_tokeniser_of_each_language(with_mecab: None, languages: list[str], name: str) -> None:
    assert {choose(language) for language in languages} == {name}


@pytest.mark.parametrize("language", ["ja", "ko", "th", "km"])
def test_without_a_tokeniser_it_falls_back_to_characters_with_a_warning(without_mecab: None, language: str) -> None:
    warnings: list[str] = []
    assert choose(language, warn=warnings.append) == "char"
    assert len(warnings) == 1 and language in warnings[0] and "by character (char)" in warnings[0]
    for other in ("zh", "de"):
        choose(other, warn=warnings.append)
    assert len(warnings) == 1


def test_the_configuration_overrides_the_tokeniser(without_mecab: None) -> None:
    assert choose("zh", "char") == "char" and choose("de", "intl") == "intl"
    with pytest.raises(SettingsError, match="tokenizer: 'ja-mecab': not installed"):
        choose("ja", "ja-mecab")


def test_a_missing_tokeniser_is_a_one_line_error() -> None:
    assert missing("zh") is None
    for name in ("ja-mecab", "ko-mecab"):
        assert missing(name) is None or "\n" not in str(missing(name))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("a b  c", "13a", 3),
        ("我爱 BLEU 分数。", "zh", 6),
        ("ฉันรัก", "char", 6),
        ("ab c", "char", 3),
        ("", "zh", 0),
        ("", "13a", 0),
    ],
)
def test_words(text: str, name: str, count: int) -> None:
    assert count_words(text, name) == count  # type: ignore[arg-type]


TEXT = {
    "zh": (["我爱北京天安门", "今天天气很好"], ["我爱北京故宫", "今天天气很好"]),
    "th": (["ฉันรักคุณมาก", "วันนี้อากาศดี"], ["ฉันรักคุณนะ", "วันนี้อากาศดี"]),
    "ja": (["これはテストです", "今日は天気がいい"], ["これは試験です", "今日は天気がいい"]),
    "km": (["ខ្ញុំស្រលាញ់អ្នក", "ថ្ងៃនេះ"], ["ខ្ញុំស្រលាញ់គេ", "ថ្ងៃនេះ"]),
}


def scored(folder: Path, src: str, tgt: str) -> tuple[Path, Path]:
    """Returns a run's folder and the corpora, with one segment translated correctly and one nearly so."""
    hypotheses, references = TEXT[tgt]
    corpus = folder / "corpora" / "D"
    (corpus / "raw").mkdir(parents=True)
    lines = {
        f"raw/test.{tgt}": references,
        f"test.tok.{tgt}": references,
        f"test.tok.{src}": TEXT.get(src, TEXT["zh"])[1],
    }
    lines[f"raw/test.{src}"] = lines[f"test.tok.{src}"]
    for name, text in lines.items():
        (corpus / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    (corpus / "provenance.json").write_text('{"configuration": {"lowercase": false, "truecase": false}}')
    run = folder / "run"
    run.mkdir()
    parts = {"model": ModelConfig(), "training": TrainingConfig(), "translation": TranslationConfig()}
    RunConfig(dataset="D", system="s", seed=1, src=src, tgt=tgt, **parts).save(run / "config.yaml")  # type: ignore[arg-type]
    entries = [{"index": i, "sentences": [text], "source_tokens": 9, "score": 0} for i, text in enumerate(hypotheses)]
    (run / "hypotheses.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name in ("translation", "summary"):
        (run / f"{name}.json").write_text('{"status": "finished"}')
    return run, folder / "corpora"


@pytest.mark.parametrize(("tgt", "tok"), [("zh", "zh"), ("th", "char"), ("km", "char"), ("ja", "char")])
def test_a_run_is_scored_by_its_language(without_mecab: None, tmp_path: Path, tgt: str, tok: str) -> None:
    run, corpora = scored(tmp_path, "en", tgt)
    warnings: list[str] = []
    score_run(run, corpora, warn=warnings.append)
    scores = json.loads((run / "scores.json").read_text())
    for metric in ("bleu", "tokenized_bleu"):
        assert f"|tok:{tok}|" in scores["metrics"][metric]["signature"]
        assert 40 < scores["metrics"][metric]["score"] < 100  # for 13a, a line without spaces is one word
    assert scores["tokenizer"] == tok and len(warnings) == (tok == "char")
    assert rescore_run(run) == scores
    compared = compare_runs(run, run, corpora)
    assert compared.metrics["bleu"][0]["score"] == pytest.approx(scores["metrics"]["bleu"]["score"])
    assert f"|tok:{tok}|" in compared.metrics["bleu"][0]["signature"]
    score_run(run, corpora, "13a")
    assert "|tok:13a|" in json.loads((run / "scores.json").read_text())["metrics"]["bleu"]["signature"]
    assert "|tok:13a|" in compare_runs(run, run, corpora).metrics["bleu"][0]["signature"]


@pytest.mark.parametrize(("src", "unit", "lengths"), [("zh", "characters", [6, 6]), ("th", "characters", [11, 13])])
def test_sources_without_spaces_are_in_buckets_by_character(
    tmp_path: Path, src: str, unit: str, lengths: list[int]
) -> None:
    run, corpora = scored(tmp_path, src, "zh" if src != "zh" else "th")
    score_run(run, corpora, warn=lambda note: None)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["unit"] == unit == compare_runs(run, run, corpora).unit
    assert scores["lengths"]["max"] == max(lengths)
    assert rescore_run(run) == scores
