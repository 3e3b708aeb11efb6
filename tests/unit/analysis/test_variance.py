from __future__ import annotations

import json
import math

import pytest
import torch

from reluformer.analysis.variance import (
    ACTIVATIONS,
    BORDERS,
    LENGTHS,
    ModuleVariance,
    VarianceByLength,
    measured_variance,
    write_variance_law,
)


def test_the_ratio_is_of_pooled_variances(make_rows):
    residual = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    measure = ModuleVariance()
    measure.update(make_rows(torch.ones(2, 3), output=residual / 10, residual=residual))
    result = measure.result()
    assert result["output_variance"] == pytest.approx(0.01)
    assert result["residual_variance"] == pytest.approx(1.0)
    assert result["variance_ratio"] == pytest.approx(0.01)


def test_tokens_that_differ_count_too(make_rows):
    measure = ModuleVariance()
    ones = torch.ones(1, 2)
    measure.update(make_rows(torch.ones(1, 3), output=ones * 5, residual=ones))
    measure.update(make_rows(torch.ones(1, 3), output=ones * 7, residual=ones * 3))
    assert measure.result()["output_variance"] == pytest.approx(1.0)  # each token is constant, their means are 5 and 7
    assert measure.result()["variance_ratio"] == pytest.approx(1.0)


def test_a_constant_residual_has_no_ratio(make_rows):
    measure = ModuleVariance()
    measure.update(make_rows(torch.ones(2, 3), output=torch.randn(2, 2), residual=torch.ones(2, 2)))
    assert measure.result()["variance_ratio"] is None


def test_variance_by_length_has_a_bucket_for_each_number_of_slots(make_rows):
    counts = [8, 8, 9, 12, 100]
    output = torch.tensor([[1.0, -1.0], [1.0, -1.0], [2.0, -2.0], [2.0, -2.0], [3.0, -3.0]])
    measure = VarianceByLength()
    measure.update(make_rows(torch.ones(3, 4), counts[:3], output=output[:3]))
    measure.update(make_rows(torch.ones(2, 4), counts[3:], output=output[3:]))
    curve = measure.result()["variance_by_length"]
    assert curve["lengths"] == [8.0, 10.5, 100.0]
    assert curve["variance"] == pytest.approx([1.0, 4.0, 9.0])


def test_borders_rise_and_have_every_power_of_two():
    assert sorted(set(BORDERS)) == BORDERS
    assert {1, 2, 8, 1024, 4096} <= set(BORDERS)


def test_more_slots_than_the_last_border_go_to_the_last_bucket(make_rows):
    measure = VarianceByLength()
    measure.update(make_rows(torch.ones(1, 4), [BORDERS[-1] * 2]))
    assert measure.result()["variance_by_length"]["lengths"] == [BORDERS[-1] * 2]


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    path = tmp_path_factory.mktemp("law") / "paper" / "variance_law.json"
    write_variance_law(path, seed=1)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_direct_relu_grows_as_half_of_n(law):
    assert law["n"] == list(LENGTHS) == [8 * 2**k for k in range(10)]
    assert law["theory_direct"] == [n / 2 for n in LENGTHS]
    assert law["measured"]["relu"] == pytest.approx(law["theory_direct"], rel=0.1)


def test_the_scaling_factor_keeps_the_variance_constant(law):
    assert law["measured"]["relu-scaled"] == pytest.approx([1.0] * len(LENGTHS), rel=0.1)


def test_softmax_falls_as_e_over_n(law):
    assert set(law["measured"]) == set(ACTIVATIONS)
    for n, variance in zip(LENGTHS, law["measured"]["softmax"], strict=True):
        if n >= 256:  # the law of large numbers holds for Σ exp
            assert variance == pytest.approx(math.e / n, rel=0.1)
        assert variance < 1


def test_the_variance_law_is_seeded():
    assert measured_variance("relu", 16, seed=1, reads=64) == measured_variance("relu", 16, seed=1, reads=64)
    assert measured_variance("relu", 16, seed=1, reads=64) != measured_variance("relu", 16, seed=2, reads=64)
