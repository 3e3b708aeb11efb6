"""Whether a claim's rule holds on our runs: stated, simple, and the same for every claim.

A difference counts where it is larger than both the rule's margin and two standard errors of the difference of the
means over seeds (with one seed, no error is known and the margin alone decides). `above` holds where the difference
counts and fails where the opposite one does; `at least` fails only where the opposite difference counts; `close to`
holds within the margin and fails beyond the margin and two standard errors; `times` holds from the factor on, and
short of it fails at 1 or less; `diverges` and `trains` look at the runs' status. Between holding and failing, a rule
is open. A system that diverged is below any that trained; where only some of its runs did, a rule in its favour stays
open. A rule over several points (slots, lengths) must hold at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, Literal, NamedTuple

import pandas as pd

from reluformer.paper.config import RuleConfig
from reluformer.paper.metrics import Metric, metric
from reluformer.paper.records import DIVERGED, NOT_RUN

Outcome = Literal["holds", "fails", "open", "missing"]
Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not run", "by construction"]
WEIGHT: tuple[Outcome, ...] = ("fails", "missing", "open", "holds")
"""What several outcomes come to: the first of these that is among them."""
VERDICTS: dict[Outcome, Verdict] = {
    "holds": "reproduced",
    "fails": "not reproduced",
    "open": "inconclusive",
    "missing": "not run",
}
STATED = (
    "A difference counts where it exceeds both the rule's margin and two standard errors over seeds; with one seed the "
    "margin alone decides. A claim is reproduced where all its rules hold, not reproduced where one fails, "
    "inconclusive in between, and not run while runs are missing."
)


class Value(NamedTuple):
    """One side of a comparison: mean, standard deviation (None of one seed) and number of runs, or what happened."""

    mean: float | None
    sd: float | None
    n: int
    state: str
    """`value`, `diverged` or `not run`."""
    diverged: int = 0
    """How many runs more diverged: the mean is of those that did not."""

    def text(self, shown: Metric) -> str:
        """The value as people read it."""
        if self.mean is None:
            return self.state
        return shown.show(self.mean, self.sd) + (f" ({self.diverged} more diverged)" if self.diverged else "")


class Comparison(NamedTuple):
    """A rule at one point: the varied keys' values there, both sides, and what it comes to."""

    at: dict[str, Any]
    ours: Value
    other: Value | None
    outcome: Outcome


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """What the outcomes of several rules or points come to; of none, `missing`."""
    return next((one for one in WEIGHT if one in outcomes), "missing")


def compare(rule: RuleConfig, frame: pd.DataFrame, keys: Sequence[str]) -> list[Comparison]:
    """The rule at each point of a study's runs (`records`); `keys` tell its points apart."""
    chosen = frame
    for key, values in rule.where.items():
        chosen = chosen[chosen[key].isin(values)]
    for key, values in rule.unless.items():
        chosen = chosen[~chosen[key].isin(values)]
    groups: list[tuple[dict[str, Any], pd.DataFrame]] = (
        [(dict(zip(keys, at, strict=True)), part) for at, part in chosen.groupby(list(keys), sort=False)]
        if keys
        else [({}, chosen)]
    )
    return [_compare(rule, at, part) for at, part in groups if len(part)]


def _compare(rule: RuleConfig, at: dict[str, Any], part: pd.DataFrame) -> Comparison:
    runs = part[part["system"] == rule.system]
    if rule.relation in ("diverges", "trains"):
        return Comparison(at, value(runs, rule.metric), None, _status(runs, rule.relation))
    ours = value(runs, rule.metric)
    if isinstance(rule.than, str):
        other = value(part[part["system"] == rule.than], rule.metric)
    else:
        other = Value(rule.than, None, 0, "value")
    return Comparison(at, ours, other, decide(rule, ours, other))


def value(runs: pd.DataFrame, name: str) -> Value:
    """A metric's mean over runs of one system at one point."""
    known, lost = runs[name].dropna(), int((runs["status"] == DIVERGED).sum())
    if len(known):
        spread = float(known.std(ddof=1)) if len(known) > 1 else None
        return Value(float(known.mean()), spread, len(known), "value", lost)
    return Value(None, None, 0, DIVERGED if lost and lost == len(runs) else NOT_RUN, lost)


def decide(rule: RuleConfig, ours: Value, other: Value) -> Outcome:
    """Whether `ours` stands to `other` as the rule says; a mean that leaves diverged runs out proves nothing."""
    outcome = _decide(rule, ours, other)
    partial = ours.mean is not None and (ours.diverged or (rule.relation == "close to" and other.diverged))
    return "open" if outcome == "holds" and partial else outcome


def _decide(rule: RuleConfig, ours: Value, other: Value) -> Outcome:
    if NOT_RUN in (ours.state, other.state):
        return "missing"
    if ours.mean is None:
        return "fails"
    if other.mean is None:
        return "holds" if rule.relation in ("above", "at least") else "fails"
    difference, error = ours.mean - other.mean, 2 * standard_error(ours, other)
    counts = max(rule.margin, error)
    if rule.relation == "times":
        ratio = ours.mean / other.mean if other.mean else float("inf")
        return "holds" if ratio >= rule.margin else "fails" if ratio <= 1 else "open"
    if rule.relation == "close to":
        apart = abs(difference)
        return "holds" if apart <= rule.margin else "fails" if apart > rule.margin + error else "open"
    if difference < -counts or (rule.relation == "above" and difference == 0 == counts):
        return "fails"
    return "holds" if rule.relation == "at least" or difference > counts else "open"


def standard_error(ours: Value, other: Value) -> float:
    """That of the difference of two means over seeds; 0 where no spread is known."""
    return sqrt(sum(side.sd**2 / side.n for side in (ours, other) if side.sd is not None and side.n))


def _status(runs: pd.DataFrame, relation: str) -> Outcome:
    if runs.empty or (runs["status"] == NOT_RUN).any():
        return "missing"
    lost = runs["status"] == DIVERGED
    wanted = lost if relation == "diverges" else ~lost
    return "holds" if wanted.all() else "fails" if not wanted.any() else "open"


def state(rule: RuleConfig, titles: dict[str, str]) -> str:
    """The rule as a sentence; `titles` name the systems."""
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
        "above": f"above {than}" + (f" by more than {margin}" if rule.margin else ""),
        "at least": f"at least {than}" + (f" − {margin}" if rule.margin else ""),
        "close to": f"within {margin} of {than}",
        "times": f"at least {margin} times {than}",
    }[rule.relation]
    return f"{shown.title}: {system} {relation}{scope}"
