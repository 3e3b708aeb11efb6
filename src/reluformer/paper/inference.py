"""Statistics over seeds: Student's and Welch's t, one-sided tests against a bound, Holm's correction.

Runs of a system with different seeds are independent draws of a metric that is assumed normal. One run has no spread,
so nothing is tested on it. Measured times are compared by the median over rounds, whose error is larger than a mean's,
which is why scipy's own tests are not used. docs/statistics.md states the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, pi, sqrt
from statistics import mean, median, stdev
from typing import NamedTuple

from scipy.special import nctdtr, stdtr, stdtrit

from reluformer.config.metrics import Metric

ALPHA = 0.05
"""The level of every test; intervals cover 1 − ALPHA."""
POWER = 0.8
MOST_SEEDS = 1000


class Effect(NamedTuple):
    """An estimate with its standard error and degrees of freedom."""

    estimate: float
    error: float
    df: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval."""
        reach = float(stdtrit(self.df, 1 - ALPHA / 2)) * self.error
        return self.estimate - reach, self.estimate + reach

    def p_above(self, bound: float) -> float:
        """Returns p of "the effect is at most `bound`", small if it is above."""
        if self.error == 0:
            return 0.0 if self.estimate > bound else 1.0
        return float(stdtr(self.df, (bound - self.estimate) / self.error))

    def p_below(self, bound: float) -> float:
        """Returns p of "the effect is at least `bound`", small if it is below."""
        return Effect(-self.estimate, self.error, self.df).p_above(-bound)

    @property
    def p(self) -> float:
        """Two-sided p of "there is no effect"; 1 for an effect of exactly 0."""
        return min(1.0, 2 * min(self.p_above(0), self.p_below(0)))


class Sample(NamedTuple):
    """A metric over the seeds of a system; with n = 0 an exact number, or none.

    Attributes:
        centre: mean or median; None without a value.
        sd: standard deviation (n − 1); None for one seed.
        n: seeds with a value.
        state: `value`, or why there is none: `diverged`, `not run`.
        diverged: the number of runs that diverged, which the centre leaves out.
    """

    centre: float | None
    sd: float | None
    n: int
    state: str = "value"
    diverged: int = 0
    by_median: bool = False

    @property
    def variance(self) -> float:
        """The squared standard error of the centre. A median's is π/2 times a mean's for many normal values.

        For few it is less: with n + π/2 − 1 instead of n it is at most 2 % too small (n = 5) or too large (even n).
        """
        squared = (self.sd or 0.0) ** 2
        return squared * (pi / 2) / (self.n + pi / 2 - 1) if self.by_median else squared / self.n

    def text(self, metric: Metric) -> str:
        """Formats the value, or the reason why there is none."""
        if self.centre is None:
            return self.state
        return metric.show(self.centre, self.sd) + (f" ({self.diverged} more diverged)" if self.diverged else "")


def sample(values: Sequence[float], by_median: bool = False) -> Sample:
    """Returns the sample of at least one value of a metric."""
    centre = median(values) if by_median else mean(values)
    return Sample(centre, stdev(values) if len(values) > 1 else None, len(values), by_median=by_median)


def centre_effect(of: Sample) -> Effect | None:
    """Returns a mean or median over n seeds by Student's t, with n − 1 degrees of freedom; None for one seed."""
    return Effect(of.centre, sqrt(of.variance), of.n - 1) if of.centre is not None and of.sd is not None else None


def difference(ours: Sample, other: Sample, factor: float = 1.0) -> Effect | None:
    """Returns `ours.centre − factor · other.centre` by Welch's t; None if a side has no value or no spread."""
    if ours.centre is None or other.centre is None or not (ours.n or other.n):
        return None
    sides = [(one, weight) for one, weight in ((ours, 1.0), (other, factor)) if one.n]
    if any(one.sd is None for one, _ in sides):
        return None
    parts = [(weight**2 * one.variance, one.n - 1) for one, weight in sides]
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    return Effect(ours.centre - factor * other.centre, sqrt(variance), variance**2 / spread if spread else inf)


def seeds_to_reject(distances: Sequence[float], sides: Sequence[tuple[float, float]], level: float) -> int | None:
    """Returns the number of seeds per side with which all one-sided t tests reject with probability `POWER` or more.

    By the noncentral t distribution (Cohen, Statistical Power Analysis, 1988, section 2.5), as if estimate and spreads
    were the true ones.

    Args:
        distances: from the estimate to each test's bound, away from which the effect lies.
        sides: standard deviation and factor of each sample that has a spread, one or two.
        level: of each test.

    Returns None if `MOST_SEEDS` seeds are too few, or if an estimate is not beyond its bound.
    """
    spread = sqrt(sum((factor * sd) ** 2 for sd, factor in sides))
    if min(distances) <= 0:
        return None
    for n in range(2, MOST_SEEDS + 1):
        df = len(sides) * (n - 1)
        critical = float(stdtrit(df, 1 - level))
        missed = [float(nctdtr(df, gap * sqrt(n) / spread, critical)) if spread else 0.0 for gap in distances]
        if 1 - sum(missed) >= POWER:
            return n
    return None


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Corrects p-values for their number by Holm (1979); None stays None and is not counted."""
    known = sorted((p, i) for i, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    worst = 0.0
    for rank, (p, i) in enumerate(known):
        worst = max(worst, min(1.0, (len(known) - rank) * p))
        corrected[i] = worst
    return corrected


def show_p(p: float) -> str:
    """Formats a p-value: `p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def p_cell(p: float | None) -> str:
    """Formats a p-value as a table's cell: `0.012`, `< 0.001`, `–` without one."""
    return "–" if p is None or p != p else show_p(p).removeprefix("p ").removeprefix("= ")
