from reluformer.paper.comparisons import baseline, baseline_runs, compared_runs


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


def test_the_claims_rules_are_compared_too_and_no_pair_twice(make):
    pairs = names(compared_runs(make().experiment, "attention-activation"))
    assert ("reluformer/seed1", "attention-sparsemax/seed1") in pairs
    assert ("reluformer/seed1", "transformer/seed1") in pairs
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    ffn = names(compared_runs(make().experiment, "ffn-activation"))
    assert ("transformer/seed1", "ffn-softmax/seed1") not in ffn  # the table has it, the other way round
