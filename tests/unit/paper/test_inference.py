from math import inf

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from reluformer.paper.inference import Effect, Sample, centre_effect, difference, holm, sample, show_p

A, B = [34.1, 34.6, 34.3], [33.2, 33.0, 33.9, 33.5]


def test_welchs_t_is_scipys():
    effect = difference(sample(A), sample(B))
    expected = stats.ttest_ind(A, B, equal_var=False)
    low, high = expected.confidence_interval()
    assert effect.p == pytest.approx(expected.pvalue) and effect.df == pytest.approx(expected.df)
    assert effect.interval == pytest.approx((low, high))
    one_sided = stats.ttest_ind([a - 0.3 for a in A], B, equal_var=False, alternative="greater")
    assert effect.p_above(0.3) == pytest.approx(one_sided.pvalue)
    assert effect.p_below(0.3) == pytest.approx(1 - one_sided.pvalue)


def test_the_interval_of_a_mean_is_students():
    expected = stats.t.interval(0.95, 2, loc=sum(A) / 3, scale=stats.sem(A))
    assert centre_effect(sample(A)).interval == pytest.approx(expected)
    against = difference(sample(A), Sample(34.0, None, 0))
    assert against.p == pytest.approx(stats.ttest_1samp(A, 34.0).pvalue)


def test_a_ratio_is_tested_as_a_difference_of_scaled_means():
    doubled = difference(sample(A), sample([b / 2 for b in B]), factor=2)
    assert doubled.interval == pytest.approx(difference(sample(A), sample(B)).interval)


def test_a_median_resists_outliers_and_has_a_larger_error_than_a_mean():
    assert sample([1.0, 9.0, 2.0], by_median=True).centre == 2.0
    rng = default_rng(1)
    for n in (3, 5, 9):
        medians = np.median(rng.normal(0, 1, (50_000, n)), axis=1)
        assert Sample(0.0, 1.0, n, by_median=True).variance == pytest.approx(medians.var(), rel=0.04)
    low, high = centre_effect(sample(A, by_median=True)).interval
    assert (low + high) / 2 == pytest.approx(34.3) and high - 34.3 > centre_effect(sample(A)).interval[1] - 34.3667


def test_one_seed_gives_nothing():
    assert centre_effect(sample([34.0])) is None
    assert difference(sample([34.0]), sample(B)) is None and difference(sample(A), sample([33.0])) is None


def test_identical_seeds_give_certainty():
    effect = difference(sample([2.0, 2.0]), sample([1.0, 1.0]))
    assert effect == Effect(1.0, 0.0, inf) and effect.p == 0 and effect.p_above(1.0) == 1
    assert difference(sample([2.0, 2.0]), sample([2.0, 2.0])).p == 1


def test_holm_is_that_of_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0] and holm([]) == []


def test_p_values_as_text():
    assert [show_p(p) for p in (0.0001, 0.0123, 1.0)] == ["p < 0.001", "p = 0.012", "p = 1.000"]
