import json

import pandas as pd
import pytest
from scipy import stats

from reluformer.config.metrics import metric
from reluformer.files import write_json
from reluformer.paper.differences import (
    differences,
    differences_table,
    legend,
    marks,
    read_tests,
    worst_p,
    write_significance,
)
from reluformer.paper.runs import read_runs

BLEU = {
    "transformer": [30.0, 30.2, 30.1],
    "ffn-softmax": [28.0, 28.1, 28.3],
    "ffn-softmax-layernorm": [30.0, 30.3, 30.1],
}


@pytest.fixture
def tested(make):
    """Builds the differences of the study ffn-activation for these seeds; only Softmax is worse, in every segment."""

    def build(seeds, **diverged):
        example = make(seeds=seeds, significance={"bootstrap": 200, "randomisation": 200})
        for run in example.experiment.study_runs("ffn-activation"):
            lost = diverged.get(run.system.replace("-", "_")) == run.seed
            example.write(run, score=BLEU[run.system][run.seed - 1], diverged=lost)
            if not lost:
                example.translate(run, share=0.5 if run.system == "ffn-softmax" else 0.0)
        write_significance(example.experiment, "ffn-activation", example.results)
        metrics = [metric(name) for name in example.experiment.studies["ffn-activation"].columns]
        frame = read_runs(example.experiment, "ffn-activation", metrics, example.results)
        return example, metrics, differences(example.experiment, "ffn-activation", frame, metrics, example.results)

    return build


def row(table, system, name="tokenized_bleu"):
    return table[(table["system"] == system) & (table["metric"] == name)].iloc[0]


def test_seeds_are_compared_by_welch_and_the_test_set_by_sacrebleu(tested):
    _, _, table = tested([1, 2, 3])
    worse, same = row(table, "ffn-softmax"), row(table, "ffn-softmax-layernorm")
    expected = stats.ttest_ind(BLEU["ffn-softmax"], BLEU["transformer"], equal_var=False)
    assert worse["p_seeds"] == pytest.approx(expected.pvalue) and worse["n"] == worse["baseline_n"] == 3
    assert (worse["low"], worse["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert worse["difference"] == pytest.approx(-1.96667, abs=1e-4)
    assert worse["marks"] == "*†" and same["marks"] == ""
    assert same["p_bootstrap"] == same["p_randomisation"] == 1
    assert marks(table)["some-sentences/ffn-softmax", "bleu"] == "*†"


def test_p_values_are_corrected_for_every_comparison_of_the_table(tested):
    _, _, table = tested([1, 2, 3])
    for kind in ("seeds", "bootstrap", "randomisation"):
        known = table[f"p_{kind}"].dropna()
        least = known.min()
        assert table.loc[known.idxmin(), f"holm_{kind}"] == pytest.approx(min(1, least * len(known)))
    assert set(table["metric"]) == {
        "tokenized_bleu",
        "bleu",
        "chrf",
        "best_valid_loss",
    }  # updates are configured, not measured
    assert table["p_bootstrap"].notna().sum() == 2 * 2


def test_one_seed_is_tested_on_the_test_set_alone(tested):
    example, metrics, table = tested([1])
    assert table["p_seeds"].isna().all() and row(table, "ffn-softmax")["marks"] == "†"
    lines = legend(example.experiment, "ffn-activation", table)
    assert lines[0].startswith("No test across seeds against Transformer (ReLU FFN, Softmax attention)")
    assert "says nothing of another training" in lines[1]
    (title, section), *_ = differences_table(example.experiment, "ffn-activation", table, metrics).items()
    assert title.startswith("Differences from Transformer") and list(section["p (seeds)"].unique()) == ["–"]


def test_a_mean_that_leaves_a_diverged_run_out_is_not_tested(tested):
    _, _, table = tested([1, 2, 3], ffn_softmax=2)
    assert pd.isna(row(table, "ffn-softmax")["p_seeds"]) and row(table, "ffn-softmax")["n"] == 2
    assert not pd.isna(row(table, "ffn-softmax-layernorm")["p_seeds"])
    _, _, table = tested([1, 2, 3], transformer=2)
    assert pd.isna(row(table, "ffn-softmax")["p_seeds"])


def test_differences_are_shown_with_their_interval(tested):
    example, metrics, table = tested([1, 2, 3])
    (section,) = differences_table(example.experiment, "ffn-activation", table, metrics).values()
    first = section.iloc[0]
    assert first["system"] == "Softmax in the FFN" and first["significant"] == "*†"
    assert first["difference"].startswith("-1.97 [-2.2") and first["p (seeds)"].startswith("0.0")


def test_every_existing_pair_is_tested(make):
    example = make(seeds=[1, 2], significance={"bootstrap": 200, "randomisation": 200})
    runs = example.experiment.study_runs("ffn-activation")
    for run in runs:
        if (run.system, run.seed) != ("ffn-softmax", 2):
            example.write(run)
            example.translate(run, share=0.0 if run.system == "transformer" else 0.5)
    write_significance(example.experiment, "ffn-activation", example.results)
    path = example.results / "paper" / "significance" / "ffn-activation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["samples"] == {"bootstrap": 200, "randomisation": 200}
    tested_pairs = {(row["run"].split("/", 1)[1], row["metric"]) for row in content["pairs"]}
    assert tested_pairs == {
        (run, kind)
        for run in ("ffn-softmax/seed1", "ffn-softmax-layernorm/seed1", "ffn-softmax-layernorm/seed2")
        for kind in ("bleu", "tokenized_bleu")
    }


def test_a_pair_is_tested_both_ways_and_the_worst_pair_counts(tmp_path):
    rows = [
        {"run": "a1", "baseline": "b1", "metric": "bleu", "bootstrap": 0.01, "randomisation": 0.02},
        {"run": "a2", "baseline": "b2", "metric": "bleu", "bootstrap": 0.2, "randomisation": 0.001},
    ]
    write_json(tmp_path / "paper" / "significance" / "s.json", {"pairs": rows})
    tests = read_tests("s", tmp_path)
    pairs = [("a1", "b1"), ("b2", "a2"), ("a3", "b3")]
    assert worst_p(tests, pairs, "bleu", "bootstrap") == 0.2
    assert worst_p(tests, pairs, "bleu", "randomisation") == 0.02
    assert worst_p(tests, pairs[2:], "bleu", "bootstrap") is None
    assert read_tests("not tested yet", tmp_path) == {}
