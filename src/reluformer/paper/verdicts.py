"""Decides whether a claim holds on our runs, by the same statistics for every claim (docs/statistics.md).

A rule bounds the effect `ours − other` (`times`: the ratio). `above`: it is at least the margin; `at least`: it is no
further below 0 than the margin; `times`: it is at least the factor; `close to`: it is within the margin of 0.
Tests are over seeds (Welch's t; for measured speed and memory, over rounds and by medians), one-sided, at 5 %, with
Holm's correction for all comparisons of the claim, once for and once against it. A comparison

- holds if "no effect" (`above`: 0; `at least`: −margin; `times`: the smaller of 1 and its factor; `close to`: both
  ends of the margin, TOST) is rejected in the claimed direction, and the estimate agrees with the claim;
- fails if the claimed effect is rejected;
- is open otherwise, and whenever a side has only one seed.

`diverges` and `trains` count runs instead of testing: they hold if all runs (at least two) did, and fail if none did.
A system all of whose runs diverged is below any that trained; if only some did, a rule in its favour stays open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

import pandas as pd

from reluformer.config.claims import RuleConfig
from reluformer.config.metrics import metric
from reluformer.paper.inference import ALPHA, Effect, Sample, difference, holm, sample, seeds_to_reject
from reluformer.paper.runs import DIVERGED, NOT_RUN

Outcome = Literal["holds", "fails", "open", "missing"]
Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not run", "by construction"]
WEIGHT: tuple[Outcome, ...] = ("fails", "missing", "open", "holds")
"""Several outcomes combine to the first of these that occurs among them."""
VERDICTS: dict[Outcome, Verdict] = {
    "holds": "reproduced",
    "fails": "not reproduced",
    "open": "inconclusive",
    "missing": "not run",
}
STATED = (
    "A claim is reproduced where each of its rules holds at each point: a one-sided test over seeds (Welch's t; for "
    "“within” two of them, TOST) rejects “no effect” in the claimed direction, and the estimate reaches the rule's "
    "margin. It is not reproduced where one rule fails: the claimed effect itself is rejected. In between it is "
    "inconclusive, and not run while runs are missing. All tests are at 5 % after Holm's correction for the claim's "
    "comparisons, so that a false claim is called reproduced, or a true one not reproduced, at most 5 % of the time. "
    "Measured speed and memory are compared by their medians over rounds. "
    "One seed says nothing of another training: it leaves a rule open, whatever the test set's own p-values are. "
    "“Converges” and “does not converge” are counts over at least two runs, not tests."
)


class Comparison(NamedTuple):
    """A rule at one point: the values of the varied keys, both sides, and the outcome."""

    rule: RuleConfig
    at: dict[str, Any]
    ours: Sample
    other: Sample | None
    effect: Effect | None = None
    """`ours − other` (`times`: `ours − factor · other`); None if it cannot be tested."""
    p_for: float | None = None
    """The p-value of "the claim does not hold here", corrected for the claim's comparisons: small if it holds."""
    p_against: float | None = None
    """The p-value of "the claim holds here", corrected likewise: small if it fails."""
    outcome: Outcome = "open"
    why: str = ""
    """Why it is open or missing, in words."""
    seeds: int | None = None
    """If it is open, the seeds per side that would probably decide it, see `seeds_to_decide`."""
    pairs: tuple[tuple[str, str], ...] = ()
    """The runs of both sides with the same seed."""


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Combines the outcomes of several rules or points; `missing` if there are none."""
    among = set(outcomes)
    return next((outcome for outcome in WEIGHT if outcome in among), "missing")


def compare(rule: RuleConfig, frame: pd.DataFrame, keys: Sequence[str]) -> list[Comparison]:
    """Returns an undecided comparison for each point of a study's runs (`read_runs`); `keys` identify a point."""
    chosen = frame
    for key, values in rule.where.items():
        chosen = chosen[chosen[key].isin(values)]
    for key, values in rule.unless.items():
        chosen = chosen[~chosen[key].isin(values)]
    if not keys:
        return [_compare(rule, {}, chosen)] if len(chosen) else []
    groups = chosen.groupby(list(keys), sort=False)
    return [_compare(rule, dict(zip(keys, at, strict=True)), part) for at, part in groups]


def _compare(rule: RuleConfig, at: dict[str, Any], part: pd.DataFrame) -> Comparison:
    runs = part[part["system"] == rule.system]
    if rule.relation in ("diverges", "trains"):
        outcome, why = _count(runs, rule.relation)
        return Comparison(rule, at, value(runs, rule.metric), None, outcome=outcome, why=why)
    if not isinstance(rule.than, str):
        return Comparison(rule, at, value(runs, rule.metric), Sample(rule.than, None, 0))
    others = part[part["system"] == rule.than]
    by_seed = dict(zip(others["seed"], others["run"], strict=True))
    pairs = [(run, by_seed[seed]) for run, seed in zip(runs["run"], runs["seed"], strict=True) if seed in by_seed]
    return Comparison(rule, at, value(runs, rule.metric), value(others, rule.metric), pairs=tuple(pairs))


def value(runs: pd.DataFrame, name: str) -> Sample:
    """Returns a metric over runs of one system at one point."""
    values, lost = runs[name].dropna().tolist(), int((runs["status"] == DIVERGED).sum())
    if values:
        return sample(values, metric(name).robust)._replace(diverged=lost)
    return Sample(None, None, 0, DIVERGED if lost and lost == len(runs) else NOT_RUN, lost)


def decide(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Decides all comparisons of one claim, with p-values corrected for their number."""
    tested = [
        evidence(comparison.rule, comparison.ours, comparison.other) or (None, None, None) for comparison in comparisons
    ]
    p_for, p_against = (holm([each[side] for each in tested]) for side in (1, 2))  # type: ignore[misc]
    corrected = zip(comparisons, tested, p_for, p_against, strict=True)
    level = ALPHA / max(1, sum(effect is not None for effect, _, _ in tested))
    return [
        _decide(comparison._replace(effect=each[0], p_for=p, p_against=q), level)
        for comparison, each, p, q in corrected
    ]


def evidence(rule: RuleConfig, ours: Sample, other: Sample | None) -> tuple[Effect, float, float] | None:
    """Returns the effect, p of "the rule does not hold" and p of "it holds"; None if there is no test."""
    if other is None:
        return None
    effect = difference(ours, other, factor=rule.margin if rule.relation == "times" else 1.0)
    if effect is None:
        return None
    margin = rule.margin
    if rule.relation == "times":
        least = difference(ours, other, factor=min(1.0, margin))
        assert least is not None
        return effect, least.p_above(0), effect.p_below(0)
    if rule.relation == "close to":
        outside = min(1.0, 2 * min(effect.p_above(margin), effect.p_below(-margin)))
        return effect, max(effect.p_above(-margin), effect.p_below(margin)), outside
    if rule.relation == "at least":
        return effect, effect.p_above(-margin), effect.p_below(-margin)
    return effect, effect.p_above(0), effect.p_below(margin)


def seeds_to_decide(comparison: Comparison, level: float) -> int | None:
    """Returns the number of seeds per side that would decide a comparison, either way, with a power of 80 %.

    Assumes that the estimate and the spreads are the true ones. `level` is 5 % divided by the number of comparisons,
    the strictest level of Holm's correction. Returns None without an estimate, for what is measured over rounds, and if
    1,000 seeds are too few.
    """
    effect, margin, other = comparison.effect, comparison.rule.margin, comparison.other
    if effect is None or other is None or comparison.ours.by_median:
        return None
    estimate, factor = effect.estimate, margin if comparison.rule.relation == "times" else 1.0
    if comparison.rule.relation == "close to":
        inside = margin - abs(estimate)
        distances = [inside, margin + abs(estimate)] if inside > 0 else [-inside]
        level = level if inside > 0 else level / 2  # either end of the margin may reject
    elif comparison.rule.relation == "at least":
        distances = [abs(estimate + margin)]
    elif comparison.rule.relation == "above":
        distances = [estimate] if estimate >= margin else [margin - estimate]
    elif estimate < 0:
        distances = [-estimate]
    else:
        assert comparison.ours.centre is not None and other.centre is not None
        factor = min(1.0, margin)
        distances = [comparison.ours.centre - factor * other.centre]
    sides = [(side.sd, weight) for side, weight in ((comparison.ours, 1.0), (other, factor)) if side.sd is not None]
    return seeds_to_reject(distances, sides, level)


def _decide(comparison: Comparison, level: float) -> Comparison:
    """Returns a comparison with its outcome, from its p-values; `level` is that of the smallest of them."""
    ours, other, relation = comparison.ours, comparison.other, comparison.rule.relation
    if other is None:
        return comparison  # counted
    if NOT_RUN in (ours.state, other.state):
        return comparison._replace(outcome="missing", why="runs are missing")
    if ours.centre is None or other.centre is None:
        lost = [side.diverged for side in (ours, other) if side.centre is None]
        if min(lost) < 2:
            return comparison._replace(outcome="open", why="one run diverged, and there is no other")
        better = ours.centre is not None and relation in ("above", "at least")
        return comparison._replace(outcome="holds" if better and not ours.diverged else "open" if better else "fails")
    if comparison.effect is None or comparison.p_for is None or comparison.p_against is None:
        return comparison._replace(outcome="open", why="one seed: nothing is known of another training")
    if comparison.p_against <= ALPHA:
        return comparison._replace(outcome="fails")
    least = {"above": comparison.rule.margin, "times": 0.0}.get(relation, -inf)  # for other relations, p implies it
    if comparison.p_for <= ALPHA and comparison.effect.estimate >= least:
        if ours.diverged or (relation == "close to" and other.diverged):
            return comparison._replace(outcome="open", why="the mean leaves diverged runs out")
        return comparison._replace(outcome="holds")
    return comparison._replace(outcome="open", why="the interval holds both", seeds=seeds_to_decide(comparison, level))


def _count(runs: pd.DataFrame, relation: str) -> tuple[Outcome, str]:
    """Returns the outcome of a rule that counts runs, and why it is open or missing."""
    n, lost = len(runs), int((runs["status"] == DIVERGED).sum())
    if not n or (runs["status"] == NOT_RUN).any():
        return "missing", "runs are missing"
    if n < 2:
        return "open", "one run is no count"
    if 0 < lost < n:
        return "open", f"{lost} of {n} runs diverged"
    return ("holds" if (lost == n) == (relation == "diverges") else "fails"), ""


def state(rule: RuleConfig, titles: dict[str, str]) -> str:
    """Returns the rule as a sentence; `titles` name the systems."""
    system = titles.get(rule.system, rule.system)
    only = [f"{key} in {{{', '.join(map(str, values))}}}" for key, values in rule.where.items()]
    only += [f"{key} not in {{{', '.join(map(str, values))}}}" for key, values in rule.unless.items()]
    scope = f" [{'; '.join(only)}]" if only else ""
    if rule.relation in ("diverges", "trains"):
        return f"{system} {'does not converge' if rule.relation == 'diverges' else 'converges'}{scope}"
    shown = metric(rule.metric)
    than = titles.get(rule.than, rule.than) if isinstance(rule.than, str) else shown.show(rule.than or 0.0)
    margin = format(rule.margin, "g")
    relation = {
        "above": f"above {than}" + (f" by at least {margin}" if rule.margin else ""),
        "at least": f"at least {than}" + (f" − {margin}" if rule.margin else ""),
        "close to": f"within {margin} of {than}",
        "times": f"at least {margin} times {than}",
    }[rule.relation]
    return f"{shown.title}: {system} {relation}{scope}"
