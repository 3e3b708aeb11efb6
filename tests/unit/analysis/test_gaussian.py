from __future__ import annotations

import json
import math

import pytest

from reluformer.analysis.gaussian import ACTIVATIONS, LENGTHS, measured_variance, theory_direct, write_variance_law


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    path = tmp_path_factory.mktemp("law") / "paper" / "variance_law.json"
    write_variance_law(path, seed=1)
    return json.loads(path.read_text())


def test_direct_relu_grows_as_half_of_n(law):
    assert law["n"] == list(LENGTHS) == [8 * 2**k for k in range(10)]
    assert law["theory_direct"] == [n / 2 for n in LENGTHS]
    assert law["measured"]["relu"] == pytest.approx(law["theory_direct"], rel=0.1)


def test_the_factor_makes_it_flat(law):
    assert law["measured"]["relu-scaled"] == pytest.approx([1.0] * len(LENGTHS), rel=0.1)


def test_softmax_falls_as_e_over_n(law):
    assert set(law["measured"]) == set(ACTIVATIONS)
    for n, variance in zip(LENGTHS, law["measured"]["softmax"], strict=True):
        if n >= 256:  # the law of large numbers holds for Σ exp
            assert variance == pytest.approx(math.e / n, rel=0.1)
        assert variance < 1


def test_the_seed_decides():
    assert measured_variance("relu", 16, seed=1, reads=64) == measured_variance("relu", 16, seed=1, reads=64)
    assert measured_variance("relu", 16, seed=1, reads=64) != measured_variance("relu", 16, seed=2, reads=64)
    assert theory_direct(10) == 5
