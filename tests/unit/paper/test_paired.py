import json

from reluformer.paper.build import build_significance
from reluformer.paper.paired import PairedTests


def test_every_pair_that_is_there_is_tested(make):
    made = make(seeds=[1, 2], significance={"bootstrap": 200, "randomisation": 200})
    runs = made.experiment.study_runs("ffn-activation")
    for run in runs:
        if (run.system, run.seed) != ("ffn-softmax", 2):
            made.write(run)
            made.translate(run, share=0.0 if run.system == "transformer" else 0.5)
    build_significance(made.experiment, "ffn-activation", made.results)
    path = made.results / "paper" / "significance" / "ffn-activation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["samples"] == {"bootstrap": 200, "randomisation": 200}
    found = {(row["run"].split("/", 1)[1], row["metric"]) for row in content["pairs"]}
    assert found == {
        (run, kind)
        for run in ("ffn-softmax/seed1", "ffn-softmax-layernorm/seed1", "ffn-softmax-layernorm/seed2")
        for kind in ("bleu", "tokenized_bleu")
    }


def test_a_pair_is_found_both_ways_and_the_worst_pair_counts():
    rows = [
        {"run": "a1", "baseline": "b1", "metric": "bleu", "bootstrap": 0.01, "randomisation": 0.02},
        {"run": "a2", "baseline": "b2", "metric": "bleu", "bootstrap": 0.2, "randomisation": 0.001},
    ]
    tests = PairedTests(rows)
    pairs = [("a1", "b1"), ("b2", "a2"), ("a3", "b3")]
    assert tests.worst(pairs, "bleu", "bootstrap") == 0.2
    assert tests.worst(pairs, "bleu", "randomisation") == 0.02
    assert tests.worst(pairs[2:], "bleu", "bootstrap") is None


def test_nothing_is_known_before_the_tests_ran(make):
    made = make()
    assert PairedTests.read("ffn-activation", made.results).worst([("a", "b")], "bleu", "bootstrap") is None
