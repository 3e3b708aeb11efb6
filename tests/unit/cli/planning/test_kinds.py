from pathlib import Path

from reluformer.cli.planning.kinds import key_of, list_kinds, with_vocabulary
from reluformer.cli.planning.sizes import read_sizes
from reluformer.config.experiment import Experiment


def test_numbers_of_a_system_do_not_make_a_kind_but_learned_does(paper):
    keys = {point.values[0]: key_of(paper.resolve(run)) for run, point in paper.study_points("gamma").items()}
    assert keys[0.5] == keys[4] != keys["learned"]


def test_every_run_is_of_a_kind_and_seeds_share_it(paper):
    sizes = {name: read_sizes(name, paper.dataset(name), Path("none")) for name in {r.dataset for r in paper.runs}}
    kinds = list_kinds(paper, sizes)
    assert sum(kind.runs for kind in kinds.values()) == len(paper.runs) + len(paper.tuning.runs())
    assert all(kind.runs % len(paper.config.seeds) == 0 for kind in kinds.values())
    assert all(kind.config.model.vocabulary for kind in kinds.values())


def test_the_batch_the_shape_and_the_processes_make_kinds(demo):
    run = next(iter(demo.runs))
    config = with_vocabulary(demo.runs[run], 10)
    other = [
        config.model_copy(update={"training": config.training.model_copy(update=change)})
        for change in ({"batch_tokens": 7}, {"processes": 2}, {"updates": 9, "learning_rate": 1.0})
    ]
    assert [key_of(one) == key_of(config) for one in other] == [False, False, True]
    wider = config.model_copy(update={"model": config.model.model_copy(update={"slots": 1})})
    assert key_of(wider) != key_of(config)


def test_the_systems_of_the_measured_study_are_kinds_without_runs(demo):
    only = Experiment({**demo.config.model_dump(), "only": ["speed-by-length"]}, folder=demo.folder)
    sizes = {name: read_sizes(name, only.dataset(name), Path("none")) for name in only.datasets}
    kinds = list_kinds(only, sizes)
    assert not only.runs and len(kinds) == 6 and {kind.runs for kind in kinds.values()} == {0}
    assert set(list_kinds(demo, {run.dataset: sizes["demo-sentences"] for run in demo.runs})) > set(kinds)
