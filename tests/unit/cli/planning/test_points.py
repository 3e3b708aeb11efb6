import pytest

from reluformer.cli.planning.gpus import Rates
from reluformer.cli.planning.plan import collect
from reluformer.cli.planning.points import points_seconds
from reluformer.config.experiment import Experiment


def test_measuring_grows_with_its_rounds_and_lengths(demo, tmp_path):
    sizes, kinds = collect(demo, tmp_path)
    rates = dict.fromkeys(kinds, Rates(0.03, 1e-4))
    plain = points_seconds(demo, sizes, rates, 0.5)
    study = demo.studies[demo.measured_study]
    points = len(study.systems) * len(study.measured.lengths) * study.measured.rounds
    assert points * (0.5 + 0.1) < plain < points * (0.5 + 2)
    assert points_seconds(demo, sizes, rates, 1.5) == pytest.approx(plain + points)
    changes = demo.config.model_dump()
    changes["studies"] = {
        **changes["studies"],
        "speed-by-length": {"measured": {"lengths": [32, 64, 128], "rounds": 2 * study.measured.rounds}},
    }
    twice = points_seconds(Experiment(changes, folder=demo.folder), sizes, rates, 0.5)
    assert twice > 1.9 * plain
    without = Experiment({**demo.config.model_dump(), "only": ["gamma"]}, folder=demo.folder)
    assert points_seconds(without, sizes, rates, 0.5) == 0
