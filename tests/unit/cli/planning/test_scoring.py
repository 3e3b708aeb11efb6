import pytest

from reluformer.cli.planning.scoring import Scoring, paired_seconds, time_scoring
from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.run import Run


def test_scoring_and_tests_are_timed(demo):
    found = time_scoring(demo.resolve(Run("demo-documents@within-128", "transformer", 1)))
    assert 1e-5 < found.line < 0.1 and 1e-9 < found.sample < 1e-5


def test_tests_cost_their_samples_and_segments():
    config = SignificanceConfig(bootstrap=1000, randomisation=9000)
    assert paired_seconds(Scoring(1.0, 1e-7), 500, config) == pytest.approx(0.5)
