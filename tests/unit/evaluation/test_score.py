import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from reluformer.config.model import ModelConfig
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig
from reluformer.evaluation.bleu import count, read_counts, score_counts, summarise, tokenized, write_counts
from reluformer.evaluation.score import describe_lengths, rescore_run, score_buckets, score_run, split_by_length

RAW = ["The device's name is wrong.", "Turn the light on, please.", "There is a well-known problem with it."]
TOKENISED = [
    "the device &apos;s name is wrong .",
    "turn the light on , please .",
    "there is a well @-@ known problem with it .",
]
SOURCE = ["der name ist falsch .", "schalte das licht ein .", "damit " * 12 + "gibt es ein problem ."]
TRANSLATED = [
    "the device &apos;s name is right .",
    "turn the light on , please .",
    "there is a well @-@ known issue with it .",
]


def corpus(folder: Path, lowercase: bool = True, truecase: bool = False) -> Path:
    (folder / "D" / "raw").mkdir(parents=True)
    for name, lines in {"raw/test.en": RAW, "test.tok.en": TOKENISED, "test.tok.de": SOURCE}.items():
        (folder / "D" / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    provenance = {"configuration": {"lowercase": lowercase, "truecase": truecase}}
    (folder / "D" / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder


def run(folder: Path, dataset: str, sentences: list[list[str]], status: str = "finished") -> Path:
    folder.mkdir(parents=True)
    config = RunConfig(
        dataset=dataset,
        system="transformer",
        seed=1,
        src="de",
        tgt="en",
        model=ModelConfig(),
        training=TrainingConfig(),
        translation=TranslationConfig(),
    )
    config.save(folder / "config.yaml")
    entries = [{"index": i, "sentences": s, "source_tokens": 30 + i, "score": -1.0} for i, s in enumerate(sentences)]
    (folder / "hypotheses.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    (folder / "translation.json").write_text(json.dumps({"status": status}), encoding="utf-8")
    return folder


def finished(folder: Path, status: str = "finished") -> Path:
    """Creates the folder of a run whose training has ended."""
    (folder / "summary.json").write_text(json.dumps({"status": status}), encoding="utf-8")
    return folder


def scores_of(folder: Path) -> dict:
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def test_scores_equal_the_sacrebleu_command_line(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    folder = run(tmp_path / "run", "D", [[line] for line in TRANSLATED])
    score_run(folder, corpora)
    scores = scores_of(folder)
    written = ["the device's name is right.", "turn the light on, please.", "there is a well-known issue with it."]

    def command_line(references: list[str], hypotheses: list[str], *arguments: str) -> float:
        (tmp_path / "reference").write_text("\n".join(references) + "\n", encoding="utf-8")
        text = "\n".join(hypotheses) + "\n"
        command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "reference"), "-lc", "-b", "-w", "6", *arguments]
        return float(subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout)

    metrics = scores["metrics"]
    assert metrics["bleu"]["score"] == pytest.approx(command_line(RAW, written), abs=1e-6)
    assert metrics["tokenized_bleu"]["score"] == pytest.approx(
        command_line(TOKENISED, TRANSLATED, "--tokenize", "none", "--force"), abs=1e-6
    )
    assert "case:lc" in metrics["bleu"]["signature"]
    assert metrics["chrf"]["score"] == pytest.approx(
        sacrebleu.corpus_chrf([h.lower() for h in written], [[r.lower() for r in RAW]]).score
    )
    assert [(row["low"], row["high"], row["segments"]) for row in scores["buckets"]] == [(1, 10, 2), (11, 20, 1)]
    assert scores["unit"] == "words" and scores["lengths"]["max"] == 17
    assert "d_bleu" not in metrics
    assert score_counts(read_counts(folder / "counts.npz")["bleu"]) == metrics["bleu"]["score"]


def test_a_cased_corpus_is_scored_cased_and_truecasing_undone(tmp_path):
    corpora = corpus(tmp_path / "corpora", lowercase=False)
    folder = run(tmp_path / "run", "D", [[line] for line in TOKENISED])
    score_run(folder, corpora)
    assert scores_of(folder)["metrics"]["bleu"]["score"] < 99
    corpora = corpus(tmp_path / "truecased", lowercase=False, truecase=True)
    score_run(folder, corpora)
    bleu = scores_of(folder)["metrics"]["bleu"]
    assert bleu["score"] == pytest.approx(100) and "case:mixed" in bleu["signature"]


def test_a_document_view_has_document_scores(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    view = corpora / "D" / "within-64"
    view.mkdir()
    (view / "test.segments.tsv").write_text("document\tfirst\tcount\n0\t0\t2\n1\t2\t1\n", encoding="utf-8")
    folder = run(tmp_path / "run", "D@within-64", [TOKENISED[:2], TOKENISED[2:]])
    score_run(folder, corpora)
    scores = scores_of(folder)
    assert scores["metrics"]["d_bleu"]["score"] == pytest.approx(100)
    assert scores["metrics"]["s_bleu"]["score"] == pytest.approx(100)
    assert scores["metrics"]["sentence_count_agreement"] == 1.0
    assert scores["unit"] == "subword tokens"
    counts = {kind: len(rows) for kind, rows in read_counts(folder / "counts.npz").items()}
    assert counts == dict.fromkeys(("bleu", "tokenized_bleu", "chrf", "lengths", "d_bleu", "agreeing"), 2) | {
        "lowercase": 1,
        "s_bleu": 3,
    }
    assert rescore_run(finished(folder)) == scores
    assert scores["lengths"] == {"mean": 30.5, "median": 30.5, "p90": 31, "max": 31, "share_half": 0.0}


def test_single_sentences_of_a_document_corpus_have_document_scores(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    provenance = {"configuration": {"lowercase": True, "truecase": False, "documents": True}}
    (corpora / "D" / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    (corpora / "D" / "test.documents.txt").write_text("a\na\nb\n", encoding="utf-8")
    folder = run(tmp_path / "run", "D", [[sentence] for sentence in TOKENISED])
    score_run(folder, corpora)
    scores = scores_of(folder)
    assert scores["unit"] == "words" and scores["metrics"]["d_bleu"]["score"] == pytest.approx(100)
    counts = read_counts(folder / "counts.npz")
    assert {kind: len(counts[kind]) for kind in ("bleu", "chrf", "d_bleu")} == {"bleu": 3, "chrf": 3, "d_bleu": 2}
    assert rescore_run(finished(folder)) == scores


def test_a_diverged_run_has_empty_scores(tmp_path):
    folder = run(tmp_path / "run", "D", [], status="diverged")
    score_run(folder, tmp_path / "no corpora needed")
    assert scores_of(folder) == {"status": "diverged", "metrics": {}, "buckets": [], "lengths": None}
    assert read_counts(folder / "counts.npz") == {}
    assert rescore_run(finished(folder, "diverged")) == scores_of(folder)


def test_every_score_comes_out_of_the_counts_alone_and_a_changed_segment_changes_it(tmp_path):
    folder = run(tmp_path / "run", "D", [[line] for line in TRANSLATED])
    score_run(folder, corpus(tmp_path / "corpora"))
    (folder / "hypotheses.jsonl").unlink()
    assert rescore_run(finished(folder)) == scores_of(folder)
    counts = read_counts(folder / "counts.npz")
    for kind in ("bleu", "tokenized_bleu", "chrf"):
        changed = {name: rows.copy() for name, rows in counts.items()}
        changed[kind][0, 2] -= 1  # one match fewer
        write_counts(folder / "counts.npz", changed)
        metrics = rescore_run(folder)["metrics"]
        assert {name for name in metrics if metrics[name]["score"] < scores_of(folder)["metrics"][name]["score"]} == {
            kind
        }


def test_counts_of_an_earlier_version_are_distinguished_from_damage(tmp_path):
    folder = run(tmp_path / "run", "D", [])
    with pytest.raises(SettingsError, match=r"counts\.npz: there is no such file; score the run again"):
        rescore_run(finished(folder))
    np.savez(folder / "counts.npz", bleu=np.ones((3, 10)), tokenized_bleu=np.ones((3, 10)))
    with pytest.raises(SettingsError, match="it has no chrf: an earlier version wrote it; score the run again"):
        rescore_run(folder)


def test_translations_of_another_corpus_are_refused(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    folder = run(tmp_path / "run", "D", [["a ."]])
    with pytest.raises(SettingsError, match="1 lines do not fit the 3 segments of the test split of D"):
        score_run(folder, corpora)
    assert not (folder / "scores.json").exists()


def test_a_missing_reference_is_named(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    (corpora / "D" / "raw" / "test.en").unlink()
    folder = run(tmp_path / "run", "D", [["a ."]] * 3)
    with pytest.raises(SettingsError, match=r"raw/test\.en: there is no such file"):
        score_run(folder, corpora)


def test_odd_line_ends_inside_a_sentence_do_not_shift_the_lines(tmp_path):
    corpora = corpus(tmp_path / "corpora")
    lines = [RAW[0].replace(" ", "\u2028", 1), *RAW[1:]]
    (corpora / "D" / "raw" / "test.en").write_bytes("".join(line + "\n" for line in lines).encode())
    folder = run(tmp_path / "run", "D", [[line] for line in TOKENISED])
    score_run(folder, corpora)
    assert scores_of(folder)["metrics"]["bleu"]["score"] > 80


def test_scoring_needs_no_torch():
    code = "import sys, reluformer.evaluation.score; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ.copy())


def test_borders_belong_to_the_lower_bucket_and_empty_ones_are_left_out():
    buckets = split_by_length([10, 11, 20, 41, 1000], (10, 20, 30, 40))
    assert [(b.low, b.high, b.members) for b in buckets] == [(1, 10, [0]), (11, 20, [1, 2]), (41, None, [3, 4])]


def test_every_segment_is_in_one_bucket():
    lengths = list(range(1, 130))
    members = [i for bucket in split_by_length(lengths, (32, 64)) for i in bucket.members]
    assert sorted(members) == list(range(129))


@pytest.mark.parametrize("lengths", [[0], [0, 0, 5, 11], [0, 500], [3, 0, 70]])
def test_a_source_without_a_word_is_in_the_first_bucket(lengths):
    buckets = split_by_length(lengths, (10, 60))
    assert sorted(i for bucket in buckets for i in bucket.members) == list(range(len(lengths)))
    assert (buckets[0].low, buckets[0].high) == (0, 10)


def test_each_bucket_is_scored_on_its_own_segments():
    text = (["a b c d e", "g h i j k", "x y z w v u"], ["a b c d f", "g h i j l m", "x y z w v u"])
    counts = {"bleu": count(BLEU(), *text), "tokenized_bleu": count(tokenized(), *text)}
    rows = score_buckets([5, 6, 25], (10, 20), counts)
    assert [(row["low"], row["high"], row["segments"]) for row in rows] == [(1, 10, 2), (21, None, 1)]
    short = [side[:2] for side in text]
    expected = {metric: summarise(metric, count(metric, *short)) for metric in (BLEU(), tokenized())}
    bleu, tokenized_bleu = expected.values()
    assert rows[0]["bleu"] == pytest.approx(bleu["score"])
    assert rows[0]["bleu_ci"] == pytest.approx(bleu["ci"])
    assert rows[0]["tokenized_bleu"] == pytest.approx(tokenized_bleu["score"])
    assert rows[1]["bleu"] == pytest.approx(100) and rows[1]["bleu_ci"] is None


def test_lengths_are_described():
    description = describe_lengths([1, 2, 3, 4, 5, 6, 7, 8, 9, 100], limit=18)
    assert description == {"mean": 14.5, "median": 5.5, "p90": 9, "max": 100, "share_half": 0.2}
    assert describe_lengths([3])["share_half"] is None
