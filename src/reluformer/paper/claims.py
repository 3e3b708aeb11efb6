"""Compares the claims with our results: reported figures, ours, and a verdict by a stated rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from reluformer.config.claims import ClaimConfig
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import metric
from reluformer.evaluation.significance import TESTS
from reluformer.files import write_json, write_text
from reluformer.paper.differences import read_tests, worst_p
from reluformer.paper.inference import ALPHA, p_cell, show_p
from reluformer.paper.notes import SOURCE_NOTE, reported, toy_stamp
from reluformer.paper.outputs import read_claims
from reluformer.paper.pages import render_table
from reluformer.paper.runs import NOT_RUN, read_runs, system_title
from reluformer.paper.tables import key_columns, markdown, pipe_table
from reluformer.paper.verdicts import STATED, VERDICTS, Comparison, Outcome, compare, decide, state, total

TITLE = "The claims, and what we see"
LEAD = "Each verdict rests on the runs of one study, compared by the rules in the second table."
P_VALUES = (
    "p of a claim: the p-value of its opposite, the largest over its comparisons; for a claim that is not reproduced, "
    "the p-value of the claim itself, the smallest. The test set's p-values (sacreBLEU's paired bootstrap and "
    "approximate randomisation, the largest over pairs of runs with the same seed, uncorrected) decide nothing."
)
INDEX = "index.html"
GROUNDS = "What the verdicts rest on"
LINKS = (
    "A claim's name links to its rules, and from there back; index.html lists the runs, with links. Links to other "
    "files work in results/paper; report.html has index.html under “Start here”."
)
Link = Callable[[str, str, str], str]
"""Renders a link from its text, its address and its own anchor or ""."""


def build_claims(experiment: Experiment, results: Path) -> None:
    """Writes `results/paper/claims.{json,md,html}`. Raises `SettingsError` for a mistake in claims.yaml."""
    judged = [judge(experiment, name, claim, results) for name, claim in read_claims(experiment).items()]
    verdicts, grounds = _tables(judged, _markdown_link)
    stamp = toy_stamp(experiment)
    notes = [STATED, P_VALUES, SOURCE_NOTE]
    about = {"title": experiment.config.title, "toy": experiment.config.toy, "rule": STATED, "level": ALPHA}
    folder = results / "paper"
    write_json(folder / "claims.json", {**about, "claims": judged})
    pages = [*([stamp] if stamp else []), f"## {GROUNDS}", pipe_table(grounds), *notes]
    write_text(folder / "claims.md", markdown(TITLE, verdicts, pages))
    tables = list(zip(("", GROUNDS), _tables(judged, _html_link), strict=True))
    write_text(folder / "claims.html", render_table(TITLE, LEAD, tables, [*notes, LINKS], stamp=stamp))


def judge(experiment: Experiment, name: str, claim: ClaimConfig, results: Path) -> dict[str, Any]:
    """Returns one claim's entry of claims.json: reported figures, each rule with its points, verdict, runs."""
    entry: dict[str, Any] = {
        "id": name,
        "sentence": claim.sentence,
        "headline": claim.headline,
        "source": claim.source,
        "study": claim.study,
        "reported": [figure.model_dump() for figure in claim.reported],
        "toy": experiment.config.toy,
        "rules": [],
        "runs": [],
        "p": None,
    }
    if claim.study is None:
        return entry | {"verdict": "by construction", "rests_on": claim.construction}
    if claim.study not in experiment.studies:
        return entry | {"verdict": "not run", "rests_on": f"the study {claim.study} is not among those chosen"}
    names = dict.fromkeys(rule.metric for rule in claim.rule)
    frame = read_runs(experiment, claim.study, [metric(one) for one in names], results)
    study = experiment.studies[claim.study]
    keys = [key for key in key_columns(study, frame) if key != "system"]
    titles = {system: system_title(experiment, system, study) for system in study.systems}
    tests = read_tests(claim.study, results)
    decided = decide([one for rule in claim.rule for one in compare(rule, frame, keys)])
    for rule in claim.rule:
        points = [one for one in decided if one.rule is rule]
        paired = [{test: worst_p(tests, one.pairs, rule.metric, test) for test in TESTS} for one in points]
        entry["rules"].append(
            {
                "rule": state(rule, titles),
                "measure": metric(rule.metric).title.partition(" (")[0],
                "than": titles.get(rule.than, rule.than) if isinstance(rule.than, str) else None,
                "outcome": total(one.outcome for one in points),
                "points": list(map(_point, points, paired)),
                "seen": "; ".join(map(_seen, points, paired)) or "no such runs in this configuration",
                "ours": "; ".join(dict.fromkeys(_ours(one, titles) for one in points)) or "no such runs",
            }
        )
    verdict = total(rule["outcome"] for rule in entry["rules"])
    entry |= {"runs": list(frame["run"]), "verdict": VERDICTS[verdict], "p": _p(verdict, decided)}
    return entry | {"rests_on": f"tables/{claim.study}.html"}


def _p(verdict: Outcome, decided: Sequence[Comparison]) -> float | None:
    """Returns the p-value behind a verdict: the claim's smallest if it failed, else the largest of "no effect"."""
    if verdict == "missing":
        return None
    if verdict == "fails":
        return min((comparison.p_against for comparison in decided if comparison.p_against is not None), default=None)
    return max((comparison.p_for for comparison in decided if comparison.p_for is not None), default=None)


def _seen(comparison: Comparison, paired: Mapping[str, float | None]) -> str:
    """Formats our figures of a comparison; paired: the p-values on the test set."""
    shown, parts = metric(comparison.rule.metric), [_sides(comparison)]
    effect = comparison.effect
    if effect is not None and comparison.rule.relation != "times":
        parts.append(f"difference {shown.show_difference(effect.estimate)} {shown.show_interval(effect.interval)}")
    if comparison.p_for is not None and comparison.p_against is not None:
        fails = comparison.outcome == "fails"
        parts.append(f"{show_p(comparison.p_against)} against it" if fails else show_p(comparison.p_for))
    if p_values := [f"{test} {show_p(p)}" for test, p in paired.items() if p is not None]:
        parts.append(f"on the test set {' and '.join(p_values)}")
    parts += [comparison.why] if comparison.why else []
    return ", ".join([*parts, *([f"about {comparison.seeds:,} seeds would decide"] if comparison.seeds else [])])


def _ours(comparison: Comparison, titles: Mapping[str, str]) -> str:
    """Formats our figures of a comparison in short, with the title of the other system."""
    if comparison.ours.state == NOT_RUN and (comparison.other is None or comparison.other.state in (NOT_RUN, "value")):
        return NOT_RUN
    than = comparison.rule.than
    return _sides(comparison) + (f" ({titles.get(than, than)})" if isinstance(than, str) else "")


def _sides(comparison: Comparison) -> str:
    """Formats both values of a comparison: `L 512: 19.1 ± 0.1 against 17.0 ± 0.2`."""
    shown = metric(comparison.rule.metric)
    where = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in comparison.at.items()
    )
    sides = [comparison.ours.text(shown)]
    if comparison.other is not None and isinstance(comparison.rule.than, str):
        sides.append(comparison.other.text(shown))
    return (f"{where}: " if where else "") + " against ".join(sides)


def _point(comparison: Comparison, paired: Mapping[str, float | None]) -> dict[str, Any]:
    """Returns one comparison's entry of claims.json; the `difference` of a `times` rule is ours − factor · other."""
    effect = comparison.effect
    return {
        "at": {key: value.item() if hasattr(value, "item") else value for key, value in comparison.at.items()},
        "ours": comparison.ours._asdict(),
        "other": comparison.other._asdict() if comparison.other else None,
        "difference": effect.estimate if effect else None,
        "interval": list(effect.interval) if effect else None,
        "p_for": comparison.p_for,
        "p_against": comparison.p_against,
        "test_set": paired,
        "outcome": comparison.outcome,
        "why": comparison.why,
        "seeds_to_decide": comparison.seeds,
    }


def label(claim: Mapping[str, Any]) -> str:
    """Returns a verdict for people, marked if the configuration is a toy."""
    verdict = str(claim["verdict"])
    return f"toy: {verdict}" if claim["toy"] and verdict not in ("not run", "by construction") else verdict


def _html_link(text: str, href: str, name: str) -> str:
    named = Markup(' id="{}"').format(name) if name else ""
    return Markup('<a{} href="{}">{}</a>').format(named, href, text)


def _markdown_link(text: str, href: str, name: str) -> str:
    """Returns a Markdown link; as Markdown has no anchors, links to anchors lead to index.html."""
    kind, _, claim = href.partition("-")
    return f"[{text}]({INDEX}#claim-{claim})" if kind in ("#claim", "#rules") else f"[{text}]({href})"


def _tables(judged: Sequence[Mapping[str, Any]], link: Link) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the tables of verdicts and of rules; every row links to the other table and to the runs."""
    verdicts = [_verdict_row(claim, link) for claim in judged]
    grounds = [row for claim in judged for row in _rule_rows(claim, link)]
    return pd.DataFrame(verdicts, dtype=object), pd.DataFrame(grounds, dtype=object)


def _verdict_row(claim: Mapping[str, Any], link: Link) -> dict[str, str]:
    where = f"{INDEX}#claim-{claim['id']}"
    runs = link(f"{len(claim['runs'])} runs", where, "")
    return {
        "claim": link(claim["id"], f"#rules-{claim['id']}", f"claim-{claim['id']}"),
        "verdict": label(claim),
        "p": p_cell(claim["p"]),
        "the paper": f"{claim['sentence']} ({claim['source']})",
        "reported": reported(claim["reported"]) or "no figures available",
        "rests on": runs + " of " + link(claim["study"], claim["rests_on"], "") if claim["runs"] else "–",
    }


def _rule_rows(claim: Mapping[str, Any], link: Link) -> list[dict[str, str]]:
    """Returns a row for each rule; a claim without rules has one row with what it rests on."""
    rows = [{"outcome": rule["outcome"], "rule": rule["rule"], "ours": rule["seen"]} for rule in claim["rules"]]
    rows = rows or [{"outcome": "–", "rule": "–", "ours": claim["rests_on"]}]
    names = [f"rules-{claim['id']}", *[""] * (len(rows) - 1)]
    return [
        {"claim": link(claim["id"], f"#claim-{claim['id']}", name)} | row for name, row in zip(names, rows, strict=True)
    ]
