import subprocess
import sys

import pytest
import yaml

from reluformer.config.settings import SettingsError
from reluformer.paper.outputs import (
    baseline,
    baseline_runs,
    claims_inputs,
    claims_outputs,
    compared_runs,
    read_claims,
    segment_length,
    significance_inputs,
    study_inputs,
    study_outputs,
)


def test_a_study_makes_four_tables_and_three_files_a_figure(make):
    experiment = make().experiment
    paths = study_outputs(experiment, "variance-ratio")
    assert [f"results/paper/tables/variance-ratio.{form}" for form in ("csv", "md", "tex", "html")] == paths[:4]
    assert paths[4] == "results/paper/tables/variance-ratio-differences.csv"
    assert paths[5:] == [f"results/paper/figures/variance-ratio-layers.{form}" for form in ("svg", "pdf", "png")]


def test_a_study_without_scores_needs_no_translation(make):
    experiment = make().experiment
    needed = study_inputs(experiment, "anisotropy")
    systems = ("transformer", "ffn-softmax", "ffn-softmax-layernorm")
    assert set(needed) == {
        f"results/runs/some-sentences/{system}/seed1/{file}"
        for system in systems
        for file in ("summary.json", "analysis.json")
    }


def test_a_study_of_scores_needs_no_analysis(make):
    files = {path.rsplit("/", 1)[1] for path in study_inputs(make().experiment, "ffn-activation")}
    assert files == {"summary.json", "scores.json", "log.jsonl", "ffn-activation.json"}


def test_paired_tests_need_what_bleu_counts_and_only_studies_of_bleu_have_them(make):
    experiment = make().experiment
    assert "results/paper/significance/ffn-activation.json" in study_inputs(experiment, "ffn-activation")
    assert {path.rsplit("/", 1)[1] for path in significance_inputs(experiment, "ffn-activation")} == {"counts.npz"}
    assert not [path for path in study_inputs(experiment, "anisotropy") if "significance" in path]
    claims = [path for path in claims_inputs(experiment) if "significance" in path]
    assert "results/paper/significance/document-length.json" in claims


def test_the_variance_law_is_an_input_of_its_figure(make):
    experiment = make().experiment
    assert "results/paper/variance_law.json" in study_inputs(experiment, "length-variance")
    assert "results/paper/variance_law.json" not in study_inputs(experiment, "ablation")


def test_maps_need_one_run_of_their_systems_on_the_longest_segments(make):
    experiment = make(seeds=[1, 2], studies={"distance": {"lengths": [64, 128], "packing": ["within"]}}).experiment
    maps = [path for path in study_inputs(experiment, "distance") if path.endswith("attention.npz")]
    assert maps == [
        "results/runs/some-documents@within-128/transformer+recipe=from-sentences/seed1/attention.npz",
        "results/runs/some-documents@within-128/reluformer+recipe=from-sentences/seed1/attention.npz",
    ]


def test_a_document_study_needs_scores_for_its_lengths(make):
    assert any(path.endswith("scores.json") for path in study_inputs(make().experiment, "distance"))


def test_names_are_split(make):
    experiment = make().experiment
    systems = {point.system for point in experiment.study_points("memory-size").values()}
    assert systems == set(experiment.studies["memory-size"].systems)
    assert segment_length("europarl7@across-1024") == 1024 and segment_length("iwslt14") is None


def test_claims_use_the_runs_of_their_studies(make):
    example = make(only=["anisotropy"])
    assert claims_outputs() == [f"results/paper/claims.{form}" for form in ("json", "md", "html")]
    assert {path.split("/")[3] for path in claims_inputs(example.experiment)} == set(
        example.experiment.studies["anisotropy"].systems
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "anisotropi"}, "did you mean 'anisotropy'"),
        ({"rule": [{"system": "rela", "relation": "trains"}]}, "'rela': not a system of study anisotropy"),
        ({"rule": [{"system": "transformer", "relation": "trains", "where": {"slots": [1]}}]}, "'slots': not a key"),
    ],
)
def test_mistakes_in_claims_are_named(make, change, message):
    experiment = make().experiment
    path = experiment.folder / "claims.yaml"
    claims = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({"anisotropy": {**claims["anisotropy"], **change}}), encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        read_claims(experiment)


def test_planning_needs_no_heavy_package():
    heavy = "{'torch', 'pandas', 'matplotlib', 'sacrebleu'}"
    code = f"import sys, reluformer.paper.outputs; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def names(pairs):
    return {(ours.path.split("/", 1)[1], other.path.split("/", 1)[1]) for ours, other in pairs}


def test_the_first_system_is_the_baseline_of_the_same_seed(make):
    experiment = make(seeds=[1, 2]).experiment
    pairs = baseline_runs(experiment, "ffn-activation")
    assert names(pairs.items()) == {
        (f"{system}/seed{seed}", f"transformer/seed{seed}")
        for system in ("ffn-softmax", "ffn-softmax-layernorm")
        for seed in (1, 2)
    }


def test_all_else_is_equal_between_a_row_and_its_baseline(make):
    experiment = make().experiment
    slots = names(baseline_runs(experiment, "memory-size").items())
    assert ("ffn-softmax+slots=128+recipe=sweep/seed1", "transformer+slots=128+recipe=sweep/seed1") in slots
    assert len(slots) == 2 * 3
    documents = baseline_runs(experiment, "document-length")
    assert documents and all(ours.dataset == other.dataset for ours, other in documents.items())


def test_a_value_may_be_the_baseline(make):
    experiment = make().experiment
    assert baseline(experiment.studies["gamma"]) == {"gamma": 2}
    pairs = baseline_runs(experiment, "gamma")
    assert len(pairs) == 5 and {split(other) for other in pairs.values()} == {"reluformer"}
    alone = make(studies={"gamma": {"baseline": None}}).experiment
    assert baseline_runs(alone, "gamma") == {}


def split(run):
    return run.system.removesuffix("+recipe=sweep")


def test_the_pairs_of_claims_are_compared_too_but_none_twice(make):
    pairs = names(compared_runs(make().experiment, "attention-activation"))
    assert ("reluformer/seed1", "attention-sparsemax/seed1") in pairs
    assert ("reluformer/seed1", "transformer/seed1") in pairs
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    ffn = names(compared_runs(make().experiment, "ffn-activation"))
    assert ("transformer/seed1", "ffn-softmax/seed1") not in ffn  # the table has the reverse pair
